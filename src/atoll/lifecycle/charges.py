"""Quotas charge what the cloud provides, so rows hold the sizes of volumes and copies.

The size in a row is never smaller than the cloud's. A request is charged before its volume is made.
An extension is charged with its wanted size until the actual size is known. A share does not grow
while a snapshot of it is taken, because the snapshot was charged, when it was requested, with the
share's size or wanted size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from atoll.cloud.base import Volume, VolumeSnapshot
from atoll.db import audit, operations, shares, snapshots
from atoll.engine.operation import Operation
from atoll.errors import Postponed
from atoll.lifecycle.backend import Backend
from atoll.model.keys import share_key, snapshot_key
from atoll.model.records import Share
from atoll.model.states import SHARES_GROWING


def provided(backend: Backend, share: Share) -> int:
    """Size in GiB of the share's volume in the cloud; 0 if there is no volume."""
    volume = backend.cloud.volumes.find_volume(share_key(share["id"]))
    return volume.size_gib if volume is not None else 0


def await_snapshots(connection: Connection, share: Share) -> None:
    """Raise ``Postponed`` while a snapshot of the share is being taken at its present size."""
    copy = snapshots.being_taken(connection, share["id"])
    if copy is not None:
        raise Postponed(
            "The share is extended when its snapshot has been taken.", waits_for=snapshot_key(copy)
        )


def grown(connection: Connection, share_id: str, size: int) -> None:
    """Store the size that a failed or cancelled extension has reached."""
    share = shares.lock(connection, share_id)
    if share is None:
        return
    changes: Share = {"size": max(share["size"], size)}
    if share["status"] not in SHARES_GROWING:
        changes["wanted_size"] = None
    shares.change(connection, share_id, **changes)


def correct(operation: Operation, backend: Backend) -> list[str]:
    """Raise too small sizes in idle rows to those of the cloud; return the corrected rows' keys."""
    volumes = _sizes(backend.cloud.volumes.list_volumes())
    copies = _sizes(backend.cloud.volumes.list_snapshots())
    with backend.database.read() as connection:
        busy = audit.busy(connection)
        wrong_shares = _wrong_shares(connection, volumes)
        wrong_snapshots = [
            found["id"]
            for found in audit.sizes_of_snapshots(connection)
            if copies.get(snapshot_key(found["id"]), 0) > found["size"]
        ]
    corrected = []

    def idle(connection: Connection, resource: str) -> bool:
        return resource not in busy and not operations.is_busy(connection, resource)

    for share_id in wrong_shares:
        resource = share_key(share_id)
        with operation.transaction() as connection:
            if idle(connection, resource):
                grown(connection, share_id, volumes.get(resource, 0))
                corrected.append(resource)
    for snapshot_id in wrong_snapshots:
        resource = snapshot_key(snapshot_id)
        with operation.transaction() as connection:
            if idle(connection, resource):
                size = copies[resource]
                snapshots.change(connection, snapshot_id, size=size, share_size=size)
                corrected.append(resource)
    return corrected


def _sizes(things: Iterable[Volume | VolumeSnapshot]) -> dict[str, int]:
    """The size by owner; of several things of one owner, the largest size."""
    sizes: dict[str, int] = {}
    for thing in things:
        sizes[thing.owner] = max(thing.size_gib, sizes.get(thing.owner, 0))
    return sizes


def _wrong_shares(connection: Connection, volumes: Mapping[str, int]) -> list[str]:
    """Shares that are smaller than their volumes, or have a ``wanted_size`` without extending."""
    return [
        share["id"]
        for share in audit.sizes_of_shares(connection)
        if volumes.get(share_key(share["id"]), 0) > share["size"]
        or (share["wanted_size"] is not None and share["status"] not in SHARES_GROWING)
    ]
