"""The processes: their heartbeats, whether they may be given work, and the pools that they see."""

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

So is one whose heartbeat is as far in the future: the clock was wrong then, so the time means
nothing. A living service writes another heartbeat within seconds.
"""


def every(connection: Connection, now: float) -> list[Service]:
    """All services with ``state`` (up or down) at ``now``, seconds by the database's clock."""
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
    """Say that a process lives at ``now`` (seconds, the database's clock), and what pools it sees.

    A pool is ``{"name": …, "capabilities": {…}}``, as the API shows it; None: as seen last.
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
    """Take a service out of use, or back. Raises ``NotFound``."""
    changed = connection.execute(
        update(services)
        .where(services.c.binary == binary, services.c.host == host)
        .values(disabled=disabled, disabled_reason=reason, updated_at=utcnow_text())
    )
    if not changed.rowcount:
        raise NotFound(f"There is no service {binary} on host {host}.")


def zones(connection: Connection) -> list[Zone]:
    """Availability zones: ``name`` and the times of the zone's first and newest service."""
    found: dict[str, Zone] = {}
    statement = select(services.c.zone, services.c.created_at).order_by(services.c.created_at)
    for zone, created_at in connection.execute(statement):
        found.setdefault(zone, {"name": zone, "created_at": created_at, "updated_at": None})
    return list(found.values())
