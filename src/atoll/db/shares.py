"""Queries of shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Unpack

from sqlalchemy import ColumnElement, Connection, func, or_, select

from atoll.db.rows import Rows
from atoll.db.tables import export_locations, share_types, shares, snapshots
from atoll.model.records import Share
from atoll.model.states import ShareStatus

SORTABLE: Final = (
    "created_at",
    "updated_at",
    "id",
    "name",
    "size",
    "status",
    "share_proto",
    "project_id",
    "user_id",
    "share_server_id",
    "host",
    "availability_zone",
    "share_type_id",
    "share_network_id",
    "snapshot_id",
)

_TYPES = select(share_types.c.id, share_types.c.name, share_types.c.extra_specs)

_rows = Rows[Share](shares, "Share")
get, require, lock = _rows.get, _rows.require, _rows.lock
find, count, conditions = _rows.find, _rows.count, _rows.conditions


def add(connection: Connection, /, **values: Unpack[Share]) -> Share:
    """Insert a share and return its complete record."""
    return _rows.add(connection, values)


def change(connection: Connection, share_id: str, /, **values: Unpack[Share]) -> bool:
    """Update columns, and ``updated_at``; return False if the share does not exist."""
    return _rows.change(connection, share_id, values)


def where(connection: Connection, /, **values: Unpack[Share]) -> list[Share]:
    """The shares with these values, oldest first."""
    return _rows.where(connection, values)


def on_server(
    connection: Connection, server_id: str, statuses: Sequence[ShareStatus]
) -> list[Share]:
    """The shares of a share server that are in one of these statuses, oldest first."""
    return [
        share
        for share in where(connection, share_server_id=server_id)
        if share["status"] in statuses
    ]


def charged_size(share: Share) -> int:
    """GiB that quotas charge for a share: the wanted size if an extension has not succeeded."""
    return max(share["size"], share["wanted_size"] or 0)


def in_project(project_id: str | None, with_public: bool) -> list[ColumnElement[bool]]:
    """Conditions for shares of a project, and public ones if wanted; None means all projects."""
    if project_id is None:
        return []
    own = shares.c.project_id == project_id
    return [or_(own, shares.c.is_public.is_(True)) if with_public else own]


def at_location(location_id: str | None, path: str | None) -> list[ColumnElement[bool]]:
    """Conditions for shares with this export location."""
    conditions = []
    if location_id is not None:
        conditions.append(export_locations.c.id == location_id)
    if path is not None:
        conditions.append(export_locations.c.path == path)
    if not conditions:
        return []
    return [shares.c.id.in_(select(export_locations.c.share_id).where(*conditions))]


def of_types(type_ids: Sequence[str]) -> ColumnElement[bool]:
    """A condition for shares of one of these share types."""
    return shares.c.share_type_id.in_(type_ids)


def types(connection: Connection) -> dict[str, tuple[str, dict[str, str]]]:
    """Name and extra specs of all share types by id, which is cheaper than a join."""
    return {row[0]: (row[1], row[2]) for row in connection.execute(_TYPES)}


def count_snapshots(connection: Connection, share_id: str) -> int:
    """How many snapshots a share has."""
    statement = select(func.count()).where(snapshots.c.share_id == share_id)
    return connection.execute(statement).scalar_one()
