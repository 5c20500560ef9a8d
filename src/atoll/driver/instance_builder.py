"""Makes service instances, or finds those that an interrupted call has made."""

from __future__ import annotations

from typing import Final

import structlog

from atoll.cloud.base import Cloud, Instance, InstanceSpec, InstanceStatus
from atoll.config import Driver as DriverOptions
from atoll.driver.fence import INSTANCE_ID, InstanceFence
from atoll.driver.identity import InstanceKeys
from atoll.driver.resources import NetworkInfo
from atoll.driver.server_state import STATE_VOLUME
from atoll.driver.storage import PrivateStorage
from atoll.guest.pool import GuestPool
from atoll.model.keys import server_key

log = structlog.get_logger(__name__)

IMAGE_ID: Final = "image_id"


class InstanceBuilder:
    """Makes the instances of share servers."""

    def __init__(
        self,
        cloud: Cloud,
        storage: PrivateStorage,
        options: DriverOptions,
        pool: GuestPool,
        fence: InstanceFence,
    ) -> None:
        self._cloud = cloud
        self._storage = storage
        self._options = options
        self._pool = pool
        self._fence = fence

    def provide(self, network_info: NetworkInfo, port_ids: tuple[str, ...]) -> Instance:
        """The instance of a share server, which may still boot. A stopped one is started.

        One that has failed, or is gone, is made again when it is proved that it has ended. Raises
        ``InstanceMayStillRun``.
        """
        owner = server_key(network_info["server_id"])
        known = self._storage.get(owner, INSTANCE_ID)
        instance = self._cloud.compute.get_instance(known) if known else None
        if known and (instance is None or instance.status == InstanceStatus.ERROR):
            self._fence.end(owner, known)
            instance = None
        if instance is None:
            instance = self._create(network_info, owner, port_ids)
        elif instance.status == InstanceStatus.STOPPED:
            self._pool.drop(owner)
            self._storage.check_current()
            self._cloud.compute.reboot_instance(instance.id)
        return instance

    def _create(self, network_info: NetworkInfo, owner: str, port_ids: tuple[str, ...]) -> Instance:
        name = self._options.service_instance_name_template % network_info["server_id"]
        keys = InstanceKeys(self._storage, owner)
        image_id = self._cloud.images.service_image().id
        spec = InstanceSpec(
            owner=owner,
            name=name,
            image_id=image_id,
            port_ids=port_ids,
            identity=keys.identity(self._options.service_instance_user, name),
            availability_zone=network_info.get("availability_zone") or "",
        )
        self._end_the_holder_of_the_state(owner)
        self._pool.drop(owner)  # the channel belongs to an earlier instance
        instance = self._cloud.compute.create_instance(spec)
        self._storage.update(owner, {INSTANCE_ID: instance.id, IMAGE_ID: image_id})
        log.info("service_instance_created", instance=instance.id, share_server=owner)
        return instance

    def _end_the_holder_of_the_state(self, owner: str) -> None:
        """End an instance that has the server's state, and so its shares, attached.

        It has taken the server over since the backup from which the database was restored.
        """
        volume_id = self._storage.get(owner, STATE_VOLUME)
        volume = self._cloud.volumes.get_volume(volume_id) if volume_id else None
        if volume is not None and volume.instance_id is not None:
            self._fence.end(owner, volume.instance_id)
