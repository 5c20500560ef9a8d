"""Rows that own resources in the cloud, and records of the rows that a handler has removed.

A resource in the cloud whose owner has no row is a leftover only if a handler has removed that row
from this database. A database that was restored from a backup does not know what was made since,
and nothing of that may be deleted, whatever operations are requested.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from atoll.db.database import utcnow_text
from atoll.db.tables import (
    removals,
    share_network_subnets,
    share_networks,
    share_servers,
    shares,
    snapshots,
)

OWNERS = {
    "share": shares,
    "snapshot": snapshots,
    "share_server": share_servers,
    "share_server_state": share_servers,
    "share_network_subnet": share_network_subnets,
}
"""Tables whose rows own resources in the cloud. The service network's owner has no row."""

RESOURCES = {
    "share": shares,
    "snapshot": snapshots,
    "share_server": share_servers,
    "share_network": share_networks,
}
"""Tables of the resources that operations work on, by kind as in ``<kind>/<id>``."""

REMEMBERED_FOR = timedelta(days=60)

_BATCH = 500


def exists(connection: Connection, resource: str) -> bool:
    """Whether there is a row for this ``<kind>/<id>``, in ``OWNERS`` or ``RESOURCES``."""
    kind, _, row_id = resource.partition("/")
    table = {**OWNERS, **RESOURCES}.get(kind)
    if table is None:
        return False
    return connection.execute(select(table.c.id).where(table.c.id == row_id)).first() is not None


def known(connection: Connection) -> set[str]:
    """Keys of all rows that may own resources in the cloud."""
    return {
        f"{kind}/{row_id}"
        for kind, table in OWNERS.items()
        for row_id in connection.execute(select(table.c.id)).scalars()
    }


def remove(connection: Connection, kind: str, row_id: str) -> None:
    """Delete an owner's row, and record the removal in the same transaction."""
    table = OWNERS[kind]
    connection.execute(delete(table).where(table.c.id == row_id))
    remember(connection, f"{kind}/{row_id}")


def remember(connection: Connection, owner: str) -> None:
    """Record that this owner's row was removed, so that what it owned is a leftover.

    A share server also owns its state, by another key, which is recorded with it.
    """
    kind, _, row_id = owner.partition("/")
    now = utcnow_text()
    for key in (f"{each}/{row_id}" for each in OWNERS if OWNERS[each] is OWNERS.get(kind)):
        same = removals.c.resource == key
        if not connection.execute(update(removals).where(same).values(removed_at=now)).rowcount:
            connection.execute(insert(removals).values(resource=key, removed_at=now))


def removed(connection: Connection, owners: Collection[str]) -> dict[str, str]:
    """Those of ``owners`` whose rows were removed, and when (UTC, ISO 8601)."""
    found: dict[str, str] = {}
    wanted = sorted(set(owners))
    for start in range(0, len(wanted), _BATCH):
        statement = select(removals.c.resource, removals.c.removed_at).where(
            removals.c.resource.in_(wanted[start : start + _BATCH])
        )
        found |= {row.resource: row.removed_at for row in connection.execute(statement)}
    return found


def prune(connection: Connection) -> None:
    """Delete old records; many reconcile passes have looked for leftovers since then."""
    before = (datetime.now(UTC) - REMEMBERED_FOR).replace(tzinfo=None).isoformat()
    connection.execute(delete(removals).where(removals.c.removed_at < before))
