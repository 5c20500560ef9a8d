"""Queries of snapshots."""

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
    "user_id",
    "progress",
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
    """Insert a snapshot and return its complete record."""
    return _rows.add(connection, values)


def change(connection: Connection, snapshot_id: str, /, **values: Unpack[Snapshot]) -> bool:
    """Update columns, and ``updated_at``; return False if the snapshot does not exist."""
    return _rows.change(connection, snapshot_id, values)


def where(connection: Connection, /, **values: Unpack[Snapshot]) -> list[Snapshot]:
    """The snapshots with these values, oldest first."""
    return _rows.where(connection, values)


def being_copied(connection: Connection, snapshot_id: str) -> str | None:
    """Id of a share that is being created from the snapshot, if there is one."""
    return connection.execute(_MAKING, {"snapshot_id": snapshot_id}).scalar_one_or_none()


def being_taken(connection: Connection, share_id: str) -> str | None:
    """Id of a snapshot of the share that is being taken, if there is one."""
    return connection.execute(_TAKING, {"share_id": share_id}).scalar_one_or_none()


def taken_before(connection: Connection, snapshot: Snapshot) -> str | None:
    """Id of the latest earlier snapshot of the same share that is still being taken."""
    mine = {
        "id": snapshot["id"],
        "share_id": snapshot["share_id"],
        "created_at": snapshot["created_at"],
    }
    return connection.execute(_TAKEN_BEFORE, mine).scalar_one_or_none()


def in_project(project_id: str | None) -> list[ColumnElement[bool]]:
    """Conditions for snapshots of a project; None means all projects."""
    return [] if project_id is None else [snapshots.c.project_id == project_id]


def used(is_used: bool) -> ColumnElement[bool]:
    """A condition for snapshots of which shares were made, or (False) of which there are none."""
    made = exists().where(shares.c.snapshot_id == snapshots.c.id)
    return made if is_used else ~made
