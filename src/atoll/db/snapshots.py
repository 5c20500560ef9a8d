"""Snapshots of shares."""

from __future__ import annotations

from typing import Final, Unpack

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    exists,
    literal,
    or_,
    select,
)

from atoll.db.operations import busy
from atoll.db.rows import Rows
from atoll.db.tables import operations, shares, snapshots
from atoll.model.records import Snapshot
from atoll.model.states import OperationStatus, ShareStatus, SnapshotStatus

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

_MAKING = (
    select(shares.c.id)
    .where(
        shares.c.snapshot_id == bindparam("snapshot_id"),
        shares.c.status == ShareStatus.CREATING_FROM_SNAPSHOT,
    )
    .limit(1)
)
_TAKING = (
    select(snapshots.c.id)
    .where(
        snapshots.c.share_id == bindparam("share_id"),
        or_(
            snapshots.c.status == SnapshotStatus.CREATING,
            # An administrator may have set another status while the copy is still being made.
            and_(
                snapshots.c.status != SnapshotStatus.DELETING,
                exists().where(
                    operations.c.resource == literal("snapshot/") + snapshots.c.id,
                    operations.c.status == OperationStatus.RUNNING,
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
        snapshots.c.status == SnapshotStatus.CREATING,
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

_rows = Rows[Snapshot](snapshots, "Snapshot")
get, require, lock = _rows.get, _rows.require, _rows.lock
find, conditions = _rows.find, _rows.conditions


def add(connection: Connection, /, **values: Unpack[Snapshot]) -> Snapshot:
    """Insert a snapshot and give back its whole record."""
    return _rows.add(connection, values)


def change(connection: Connection, snapshot_id: str, /, **values: Unpack[Snapshot]) -> bool:
    """Update columns, and ``updated_at``; False where the snapshot is gone."""
    return _rows.change(connection, snapshot_id, values)


def being_copied(connection: Connection, snapshot_id: str) -> str | None:
    """A share that is being made from it just now, if there is one."""
    return connection.execute(_MAKING, {"snapshot_id": snapshot_id}).scalar_one_or_none()


def being_taken(connection: Connection, share_id: str) -> str | None:
    """A snapshot of the share that is being taken just now, if there is one."""
    return connection.execute(_TAKING, {"share_id": share_id}).scalar_one_or_none()


def taken_before(connection: Connection, snapshot: Snapshot) -> str | None:
    """The latest earlier one of the same share's snapshots that is still being taken."""
    mine = {
        "id": snapshot["id"],
        "share_id": snapshot["share_id"],
        "created_at": snapshot["created_at"],
    }
    return connection.execute(_TAKEN_BEFORE, mine).scalar_one_or_none()


def in_project(project_id: str | None) -> list[ColumnElement[bool]]:
    """Those of a project; None means everybody's."""
    return [] if project_id is None else [snapshots.c.project_id == project_id]
