"""Volumes that service instances boot from, if the operator doesn't want disks of the hosts.

Such a volume is made from the image for one instance, and Nova deletes it together with the
instance (``delete_on_termination``). It has the marks of everything that Atoll makes, so that it is
found and removed if Nova didn't do that.
"""

from __future__ import annotations

from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.volumes import CinderVolumes


class RootVolumes:
    """The deployment's root volumes of ``gib`` GiB.

    With 0, instances boot from disks of their hosts.
    """

    def __init__(self, volumes: CinderVolumes, gib: int) -> None:
        self._volumes = volumes
        self._gib = gib

    def boot_source(self, owner: str, image_id: str, availability_zone: str) -> Json:
        """The part of Nova's request that says what a new server of ``owner`` boots from."""
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
        """Delete the owner's root volumes that no server has, because their content is unknown."""
        if not self._gib:
            return
        for volume in self._volumes.list_volumes():
            if volume.owner == owner and volume.instance_id is None:
                self._volumes.delete_volume(volume.id)
