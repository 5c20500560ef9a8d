"""Quotas charge what the cloud provides: rows have the sizes of volumes and copies.

A row never has a smaller size than the cloud. A request is charged before its volume is made. An
extension counts with its wanted size until the reached size is known. No share grows while a
snapshot of it is taken (a snapshot is charged with the share's size, or wanted size, when it is
requested).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, Table

from atoll.cloud.base import Volume, VolumeSnapshot
from atoll.db import audit, operations, rows
from atoll.db import shares as share_rows
from atoll.db import snapshots as snapshot_rows
from atoll.db.rows import Row
from atoll.db.tables import shares, snapshots
from atoll.driver.resources import share_key
from atoll.engine.operation import Operation
from atoll.errors import Postponed
from atoll.lifecycle.backend import Backend

GROWING = ("extending", "extending_error")
"""Statuses in which ``wanted_size`` is a request; in others it is left over from an earlier one."""


def provided(backend: Backend, share: Row) -> int:
    """GiB of the share's volume as the cloud has it; 0 where there is none. Asks the cloud."""
    volume = backend.cloud.volumes.find_volume(share_key(share["id"]))
    return volume.size_gib if volume is not None else 0


def await_snapshots(connection: Connection, share: Row) -> None:
    """Raise ``Postponed`` while a snapshot of the share is being taken, of the size that it has."""
    copy = snapshot_rows.being_taken(connection, share["id"])
    if copy is not None:
        raise Postponed(
            "The share grows when its snapshot has been taken.", waits_for=f"snapshot/{copy}"
        )


def grown(connection: Connection, share_id: str, size: int) -> None:
    """Store the size that an extension reached, if it failed or was cancelled by hand."""
    share = share_rows.lock(connection, share_id)
    if share is None:
        return
    changes: Row = {"size": max(share["size"], size)}
    if share["status"] not in GROWING:
        changes["wanted_size"] = None
    rows.change(connection, shares, share_id, **changes)


def correct(operation: Operation, backend: Backend) -> list[str]:
    """Raise sizes in rows without an operation to what the cloud provides; return those rows."""
    volumes = _sizes(backend.cloud.volumes.list_volumes())
    copies = _sizes(backend.cloud.volumes.list_snapshots())
    with backend.database.read() as connection:
        busy = audit.busy(connection)
        wrong = _wrong(connection, shares, "share", volumes)
        wrong += _wrong(connection, snapshots, "snapshot", copies)
    corrected = []
    for resource in wrong:
        kind, _, row_id = resource.partition("/")
        if resource in busy:
            continue
        with operation.transaction() as connection:
            if operations.is_busy(connection, resource):
                continue
            if kind == "share":
                grown(connection, row_id, volumes.get(resource, 0))
            else:
                size = copies[resource]
                rows.change(connection, snapshots, row_id, size=size, share_size=size)
        corrected.append(resource)
    return corrected


def _sizes(things: Iterable[Volume | VolumeSnapshot]) -> dict[str, int]:
    """The size for each owner; the largest if it has several."""
    sizes: dict[str, int] = {}
    for thing in things:
        sizes[thing.owner] = max(thing.size_gib, sizes.get(thing.owner, 0))
    return sizes


def _wrong(
    connection: Connection, table: Table, kind: str, provided: Mapping[str, int]
) -> list[str]:
    return [
        f"{kind}/{row['id']}"
        for row in audit.sizes(connection, table)
        if provided.get(f"{kind}/{row['id']}", 0) > row["size"]
        or (row.get("wanted_size") is not None and row["status"] not in GROWING)
    ]
