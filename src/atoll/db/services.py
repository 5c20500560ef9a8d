"""The services: their heartbeats, whether they are disabled, and the pools that they see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, insert, select, update

from atoll.db.database import utcnow_text
from atoll.db.tables import services
from atoll.errors import NotFound
from atoll.model.records import Service, Zone

DOWN_AFTER = 60.0
"""A service whose last heartbeat is older than this many seconds is shown as down.

So is a service whose heartbeat is this far in the future, because the clock was wrong. A live
service writes another heartbeat within seconds.
"""


def every(connection: Connection, now: float) -> list[Service]:
    """All services, with their ``state`` (up or down) at ``now`` (seconds, database's clock)."""
    statement = select(services).order_by(services.c.binary, services.c.host)
    return [
        cast(
            Service,
            {**row, "state": "up" if abs(now - row["heartbeat"]) <= DOWN_AFTER else "down"},
        )
        for row in connection.execute(statement).mappings()
    ]


def heartbeat(
    connection: Connection,
    binary: str,
    host: str,
    now: float,
    *,
    zone: str,
    pools: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Record that a service is alive at ``now`` (seconds, database's clock), and its pools.

    A pool is ``{"name": …, "capabilities": {…}}``, as the API shows it. None keeps the known pools.
    """
    news: Service = {"zone": zone, "heartbeat": now}
    if pools is not None:
        news["pools"] = [dict(pool) for pool in pools]
    known = (services.c.binary == binary, services.c.host == host)
    seen = update(services).where(*known).values(updated_at=utcnow_text(), **news)
    if connection.execute(seen).rowcount:
        return
    first = {"binary": binary, "host": host, "disabled": False, "pools": [], **news}
    connection.execute(insert(services).values(created_at=utcnow_text(), **first))


def set_disabled(
    connection: Connection, binary: str, host: str, *, disabled: bool, reason: str | None = None
) -> None:
    """Disable or enable a service. Raises ``NotFound``."""
    changed = connection.execute(
        update(services)
        .where(services.c.binary == binary, services.c.host == host)
        .values(disabled=disabled, disabled_reason=reason, updated_at=utcnow_text())
    )
    if not changed.rowcount:
        raise NotFound(f"There is no service {binary} on host {host}.")


def zones(connection: Connection) -> list[Zone]:
    """Availability zones by name; ``created_at`` is the time of the zone's first service."""
    found: dict[str, Zone] = {}
    statement = select(services.c.zone, services.c.created_at).order_by(services.c.created_at)
    for zone, created_at in connection.execute(statement):
        found.setdefault(zone, {"name": zone, "created_at": created_at, "updated_at": None})
    return list(found.values())
