"""Snapshots of shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    exists,
    insert,
    literal,
    or_,
    select,
)

from atoll.db import pages, rows
from atoll.db.database import utcnow_text
from atoll.db.operations import busy
from atoll.db.rows import Row
from atoll.db.tables import operations, shares, snapshots

SORTABLE: Final = (
    "created_at",
    "updated_at",
    "id",
    "name",
    "size",
    "share_size",
    "status",
    "share_id",
    "share_proto",
    "project_id",
)

_GET = select(snapshots).where(snapshots.c.id == bindparam("snapshot_id"))
_MAKING = (
    select(shares.c.id)
    .where(
        shares.c.snapshot_id == bindparam("snapshot_id"),
        shares.c.status == "creating_from_snapshot",
    )
    .limit(1)
)
_TAKING = (
    select(snapshots.c.id)
    .where(
        snapshots.c.share_id == bindparam("share_id"),
        or_(
            snapshots.c.status == "creating",
            # An administrator may have set another status while the copy is still being made.
            and_(
                snapshots.c.status != "deleting",
                exists().where(
                    operations.c.resource == literal("snapshot/") + snapshots.c.id,
                    operations.c.status == "running",
                ),
            ),
        ),
    )
    .order_by(snapshots.c.created_at)
    .limit(1)
)
_TAKEN_BEFORE = (
    select(snapshots.c.id)
    .where(
        snapshots.c.share_id == bindparam("share_id"),
        snapshots.c.status == "creating",
        or_(
            snapshots.c.created_at < bindparam("created_at"),
            and_(
                snapshots.c.created_at == bindparam("created_at"), snapshots.c.id < bindparam("id")
            ),
        ),
        busy("snapshot/" + snapshots.c.id),
    )
    .order_by(snapshots.c.created_at.desc(), snapshots.c.id.desc())
    .limit(1)
)
_INSERT = insert(snapshots)


def get(connection: Connection, snapshot_id: str) -> Row | None:
    """The snapshot's row, or None."""
    found = connection.execute(_GET, {"snapshot_id": snapshot_id}).mappings().first()
    return dict(found) if found is not None else None


def lock(connection: Connection, snapshot_id: str) -> Row | None:
    """The row, which nobody else changes until this (write) transaction ends."""
    statement = _GET.with_for_update()
    found = connection.execute(statement, {"snapshot_id": snapshot_id}).mappings().first()
    return dict(found) if found is not None else None


def add(connection: Connection, values: Mapping[str, Any]) -> Row:
    """Insert a snapshot and give back its whole row."""
    row: Row = {**dict.fromkeys(snapshots.c.keys()), "created_at": utcnow_text(), **values}
    connection.execute(_INSERT, row)
    return row


def change(connection: Connection, snapshot_id: str, **values: Any) -> None:
    """Update columns, and ``updated_at``."""
    rows.change(connection, snapshots, snapshot_id, **values)


def being_copied(connection: Connection, snapshot_id: str) -> str | None:
    """A share that is being made from it just now, if there is one."""
    return connection.execute(_MAKING, {"snapshot_id": snapshot_id}).scalar_one_or_none()


def being_taken(connection: Connection, share_id: str) -> str | None:
    """A snapshot of the share that is being taken just now, if there is one."""
    return connection.execute(_TAKING, {"share_id": share_id}).scalar_one_or_none()


def taken_before(connection: Connection, snapshot: Row) -> str | None:
    """The latest earlier one of the same share's snapshots that is still being taken."""
    mine = {key: snapshot[key] for key in ("id", "share_id", "created_at")}
    return connection.execute(_TAKEN_BEFORE, mine).scalar_one_or_none()


def in_project(project_id: str | None) -> list[ColumnElement[bool]]:
    """Those of a project; None means everybody's."""
    return [] if project_id is None else [snapshots.c.project_id == project_id]


def find(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], page: pages.Wanted
) -> tuple[list[Mapping[str, Any]], bool]:
    """A page of snapshots, and whether there are more."""
    return pages.find(connection, snapshots, conditions, page)
