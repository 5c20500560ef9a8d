"""Volumes that service instances boot from, where the operator wants no disks of the hosts'.

Such a volume is made of the image for one instance and goes with it: Nova deletes it
(``delete_on_termination``). It carries the marks of everything of ours, so that it is seen, and
removed, where Nova did not come to that.
"""

from __future__ import annotations

from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.volumes import CinderVolumes


class RootVolumes:
    """The deployment's. ``gib`` is their size; 0: instances boot from disks of their hosts."""

    def __init__(self, volumes: CinderVolumes, gib: int) -> None:
        self._volumes = volumes
        self._gib = gib

    def boot_source(self, owner: str, image_id: str, availability_zone: str) -> Json:
        """What a new server of ``owner`` boots from, as Nova wants it."""
        if not self._gib:
            return {"imageRef": image_id}
        self.discard(owner)
        volume = self._volumes.create_root_volume(
            owner, self._gib, image_id=image_id, availability_zone=availability_zone
        )
        return {
            "block_device_mapping_v2": [
                {
                    "boot_index": 0,
                    "uuid": volume.id,
                    "source_type": "volume",
                    "destination_type": "volume",
                    "delete_on_termination": True,
                }
            ]
        }

    def discard(self, owner: str) -> None:
        """Delete what no server of the owner has (any more): nobody knows what is on it."""
        if not self._gib:
            return
        for volume in self._volumes.list_volumes():
            if volume.owner == owner and volume.instance_id is None:
                self._volumes.delete_volume(volume.id)
