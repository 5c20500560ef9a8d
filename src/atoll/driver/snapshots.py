"""Snapshots of share volumes. A snapshot that is not consistent is not kept.

A copy is marked complete if its file system was frozen from before the copy began until after it
was made. A copy without the mark may be inconsistent, so it is made again.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from atoll.cloud.base import Cloud, Volume, VolumeSnapshot
from atoll.driver.storage import PrivateStorage
from atoll.errors import SnapshotInconsistent
from atoll.model.keys import snapshot_key

SNAPSHOT_ID = "snapshot_id"
FILE_SYSTEM = "file_system"
COMPLETE = "complete"


class ShareSnapshots:
    """Volume snapshots of one cloud, with what is stored about them."""

    def __init__(self, cloud: Cloud, storage: PrivateStorage) -> None:
        self._volumes = cloud.volumes
        self._storage = storage

    def take(
        self,
        snapshot_id: str,
        volume: Volume,
        file_system: str,
        still: AbstractContextManager[None],
    ) -> VolumeSnapshot:
        """Copy the volume within ``still`` (see ``freeze.py``), unless there is a complete copy.

        Raises ``SnapshotInconsistent`` (try again), after removing the copy, if the freeze ended
        early.
        """
        key = snapshot_key(snapshot_id)
        if self._storage.get(key, COMPLETE) and (made := self.find(snapshot_id)) is not None:
            return made
        self.remove(snapshot_id)
        try:
            with still:
                made = self._volumes.create_snapshot(key, volume.id)
                self._storage.update(key, {SNAPSHOT_ID: made.id, FILE_SYSTEM: file_system})
        except SnapshotInconsistent:
            self.remove(snapshot_id)
            raise
        self._storage.update(key, {COMPLETE: "yes"})
        return made

    def find(self, snapshot_id: str) -> VolumeSnapshot | None:
        """The snapshot, if there is one."""
        key = snapshot_key(snapshot_id)
        stored = self._storage.get(key, SNAPSHOT_ID)
        made = self._volumes.get_snapshot(stored) if stored else None
        return made or self._volumes.find_snapshot(key)

    def file_system(self, snapshot_id: str) -> str | None:
        """The file system of the copied volume, if it was recorded."""
        return self._storage.get(snapshot_key(snapshot_id), FILE_SYSTEM)

    def remove(self, snapshot_id: str) -> None:
        """Delete the snapshot and what is stored about it. It may be gone already."""
        key = snapshot_key(snapshot_id)
        made = self.find(snapshot_id)
        if made is not None:
            self._storage.check_current()
            self._volumes.delete_snapshot(made.id)
        self._storage.delete(key)

    def adopt(self, snapshot_id: str, made: VolumeSnapshot, file_system: str) -> None:
        """Record a volume snapshot that Atoll has not made."""
        values = {SNAPSHOT_ID: made.id, FILE_SYSTEM: file_system, COMPLETE: "yes"}
        self._storage.update(snapshot_key(snapshot_id), values)

    def forget(self, snapshot_id: str) -> None:
        """Delete what is stored about the snapshot without changing it."""
        self._storage.delete(snapshot_key(snapshot_id))
