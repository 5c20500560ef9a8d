"""The snapshot that a new share is made from, and what the share has from it."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import Connection

from atoll.api.frame.call import Call
from atoll.capabilities import is_true
from atoll.db import share_types, shares, snapshots
from atoll.errors import Invalid, NotFound
from atoll.model.records import Share, ShareType, Snapshot
from atoll.model.states import SnapshotStatus

_SINCE_CLONE_SUPPORT: Final = 24


class Source(msgspec.Struct):
    """A snapshot, and the share that it was taken of."""

    snapshot: Snapshot
    parent: Share


def find(
    call: Call, connection: Connection, snapshot_id: str | None, size: int, protocol: str
) -> Source | None:
    """The source of a share of ``size`` GiB with a protocol; None if no snapshot is given.

    Raises ``Invalid`` where the share and the snapshot don't fit, and ``NotFound``.
    """
    if not snapshot_id:
        return None
    found = snapshots.lock(connection, snapshot_id)  # so that it is not deleted meanwhile
    snapshot = call.visible(found, "Snapshot", snapshot_id)
    if snapshot["status"] != SnapshotStatus.AVAILABLE:
        raise Invalid(
            f"Invalid snapshot: its status must be available, and is {snapshot['status']}."
        )
    if size < snapshot["size"]:
        raise Invalid(f"Share size {size} GiB is less than the snapshot's, {snapshot['size']} GiB.")
    if protocol != snapshot["share_proto"]:
        raise Invalid(f"A share from this snapshot has its protocol, {snapshot['share_proto']}.")
    parent = shares.get(connection, snapshot["share_id"])
    if parent is None:
        raise NotFound(f"Share {snapshot['share_id']} could not be found.")
    return Source(snapshot, parent)


def share_type(call: Call, connection: Connection, source: Source, wanted: str | None) -> ShareType:
    """The parent's share type. Raises ``Invalid`` if another one is wanted, or if it forbids it."""
    parents = share_types.find(connection, source.parent["share_type_id"])
    if wanted and wanted not in (parents["id"], parents["name"]):
        raise Invalid(
            "Invalid share type specified: the requested share type must match the type of the "
            "source share. If a share type is not specified when requesting a new share from a "
            "snapshot, the share type of the source share will be applied to the new share."
        )
    specs = parents["extra_specs"]
    if call.version >= _SINCE_CLONE_SUPPORT and not is_true(
        specs.get("create_share_from_snapshot_support")
    ):
        raise Invalid(
            f"A new share may not be created from snapshot '{source.snapshot['id']}', because "
            "the snapshot's parent share does not have that capability."
        )
    return parents
