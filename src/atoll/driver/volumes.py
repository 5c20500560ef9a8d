"""The block volumes of shares.

A volume is found by the id that was stored or, if a worker died before it stored the id, by its
owner.
"""

from __future__ import annotations

from collections.abc import Callable

from atoll.cloud.base import Cloud, Volume
from atoll.config import Driver as DriverOptions
from atoll.driver.resources import option
from atoll.driver.snapshots import FILE_SYSTEM, ShareSnapshots
from atoll.driver.storage import PrivateStorage
from atoll.driver.timing import timed
from atoll.errors import ShareBackendException, VolumeLost
from atoll.model.keys import share_key
from atoll.model.records import Share

VOLUME_ID = "volume_id"
MOUNT_PATH = "mount_path"


class ShareVolumes:
    """Volumes of one cloud, with what is stored about them.

    ``mount_path`` tells where a share is served. It is stored together with the volume.
    """

    def __init__(
        self,
        cloud: Cloud,
        storage: PrivateStorage,
        options: DriverOptions,
        snapshots: ShareSnapshots,
        mount_path: Callable[[str], str],
    ) -> None:
        self._mount_path = mount_path
        self._snapshots = snapshots
        self._volumes = cloud.volumes
        self._compute = cloud.compute
        self._storage = storage
        self._options = options

    def provide(self, share: Share, snapshot_id: str | None = None) -> Volume:
        """The share's volume, made if it is missing: blank, or with a snapshot's content."""
        volume = self.find(share["id"])
        if volume is None:
            key = share_key(share["id"])
            with timed("volume_created", size_gib=share["size"]):
                volume = self._volumes.create_volume(
                    key,
                    share["size"],
                    snapshot_id=self._source(snapshot_id) if snapshot_id else None,
                    availability_zone=share.get("availability_zone") or "",
                )
            known = {
                VOLUME_ID: volume.id,
                FILE_SYSTEM: self._file_system(share, snapshot_id),
                MOUNT_PATH: self._mount_path(share["id"]),
            }
            self._storage.update(key, known)
        return volume

    def find(self, share_id: str) -> Volume | None:
        """The share's volume, if there is one."""
        key = share_key(share_id)
        volume_id = self._storage.get(key, VOLUME_ID)
        return self._volumes.get_volume(volume_id) if volume_id else None

    def is_known(self, share_id: str) -> bool:
        """Whether the share's volume was made, without asking the cloud if it is still there."""
        return self._storage.get(share_key(share_id), VOLUME_ID) is not None

    def of(self, share_id: str) -> Volume:
        """The share's volume. Raises ``VolumeLost`` if there is none."""
        volume = self.find(share_id)
        if volume is None:
            raise VolumeLost(f"The volume of share {share_id} does not exist any more.")
        return volume

    def volume_id(self, share_id: str) -> str:
        """The id of the share's volume, without asking the cloud. Raises ``VolumeLost``."""
        volume_id = self._storage.get(share_key(share_id), VOLUME_ID)
        if volume_id is None:
            raise VolumeLost(
                f"Share {share_id} never had a volume.",
                public="The share never had a volume. Delete it, and create another.",
            )
        return volume_id

    def file_system(self, share_id: str) -> str:
        """The file system of the share's volume. A clone has its parent's."""
        stored = self._storage.get(share_key(share_id), FILE_SYSTEM)
        return stored or self._options.share_volume_fstype

    def remove(self, share_id: str) -> None:
        """Detach and delete the share's volume, and what is stored about it."""
        key = share_key(share_id)
        volume = self.find(share_id) or self._volumes.find_volume(key)
        if volume is not None:
            self._storage.check_current()
            if volume.instance_id is not None:
                self._compute.detach_volume(volume.instance_id, volume.id)
                self._storage.check_current()  # that may have taken long
            self._volumes.delete_volume(volume.id)
        self._storage.delete(key)

    def _file_system(self, share: Share, snapshot_id: str | None) -> str:
        if snapshot_id:
            parents = self._snapshots.file_system(snapshot_id)
            if parents:
                return parents
        return option(share, FILE_SYSTEM) or self._options.share_volume_fstype

    def _source(self, snapshot_id: str) -> str:
        snapshot = self._snapshots.find(snapshot_id)
        if snapshot is None:
            raise ShareBackendException(public="The snapshot does not exist in the cloud any more.")
        return snapshot.id
