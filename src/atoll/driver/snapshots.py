"""Snapshots of share volumes: consistent, or not there.

A copy counts once it is marked complete, which is after its file system was frozen from before the
copy began until after it was done. Of a copy without the mark nobody knows that, so it is taken
again.
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
    """Volume snapshots of one cloud, with what is remembered of them."""

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
        """Copy the volume while ``still`` holds (see ``freeze.py``), unless there is a good copy.

        Raises ``SnapshotInconsistent`` (try again), with nothing left, when it did not hold.
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
        """What the copied volume is formatted with, as far as that was written down."""
        return self._storage.get(snapshot_key(snapshot_id), FILE_SYSTEM)

    def remove(self, snapshot_id: str) -> None:
        """Destroy the snapshot and forget it. Absent is fine."""
        key = snapshot_key(snapshot_id)
        made = self.find(snapshot_id)
        if made is not None:
            self._storage.update(key, {SNAPSHOT_ID: made.id})  # stops a stale worker
            self._volumes.delete_snapshot(made.id)
        self._storage.delete(key)

    def adopt(self, snapshot_id: str, made: VolumeSnapshot, file_system: str) -> None:
        """Remember a volume snapshot that somebody else has made."""
        values = {SNAPSHOT_ID: made.id, FILE_SYSTEM: file_system, COMPLETE: "yes"}
        self._storage.update(snapshot_key(snapshot_id), values)

    def forget(self, snapshot_id: str) -> None:
        """Let go of the snapshot without touching it."""
        self._storage.delete(snapshot_key(snapshot_id))
