"""Shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, or_, select

from atoll.db import pages, rows
from atoll.db.database import utcnow_text
from atoll.db.rows import Row
from atoll.db.tables import export_locations, share_types, shares, snapshots

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

_GET = select(shares).where(shares.c.id == bindparam("share_id"))
_INSERT = insert(shares)
_TYPES = select(share_types.c.id, share_types.c.name, share_types.c.extra_specs)


def get(connection: Connection, share_id: str) -> Row | None:
    """The share's row, or None."""
    found = connection.execute(_GET, {"share_id": share_id}).mappings().first()
    return dict(found) if found is not None else None


def lock(connection: Connection, share_id: str) -> Row | None:
    """The share's row, which nobody else changes until this (write) transaction ends."""
    statement = _GET.with_for_update()
    found = connection.execute(statement, {"share_id": share_id}).mappings().first()
    return dict(found) if found is not None else None


def add(connection: Connection, values: Mapping[str, Any]) -> Row:
    """Insert a share and give back its whole row."""
    row: Row = {**dict.fromkeys(shares.c.keys()), **values}
    row["created_at"] = row["created_at"] or utcnow_text()
    connection.execute(_INSERT, row)
    return row


def change(connection: Connection, share_id: str, **values: Any) -> None:
    """Update columns, and ``updated_at``."""
    rows.change(connection, shares, share_id, **values)


def charged_size(share: Mapping[str, Any]) -> int:
    """GiB that quotas charge for a share: the wanted size, if it grows or failed to grow."""
    return max(int(share["size"]), int(share["wanted_size"] or 0))


def in_project(project_id: str | None, with_public: bool) -> list[ColumnElement[bool]]:
    """Those of a project (and the public ones of all); None means everybody's."""
    if project_id is None:
        return []
    own = shares.c.project_id == project_id
    return [or_(own, shares.c.is_public.is_(True)) if with_public else own]


def at_location(location_id: str | None, path: str | None) -> list[ColumnElement[bool]]:
    """Those with this export location."""
    conditions = []
    if location_id is not None:
        conditions.append(export_locations.c.id == location_id)
    if path is not None:
        conditions.append(export_locations.c.path == path)
    if not conditions:
        return []
    return [shares.c.id.in_(select(export_locations.c.share_id).where(*conditions))]


def find(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], page: pages.Wanted
) -> tuple[list[Mapping[str, Any]], bool]:
    """A page of shares, and whether there are more."""
    return pages.find(connection, shares, conditions, page)


def types(connection: Connection) -> dict[str, tuple[str, dict[str, str]]]:
    """Name and extra specs of all share types, by id: few rows, and cheaper than a join."""
    return {row[0]: (row[1], row[2]) for row in connection.execute(_TYPES)}


def count_snapshots(connection: Connection, share_id: str) -> int:
    """How many snapshots a share has."""
    statement = select(func.count()).where(snapshots.c.share_id == share_id)
    return connection.execute(statement).scalar_one()
