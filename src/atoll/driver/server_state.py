"""The state of a share server's NFS server, on a small volume that outlives the server's instances.

By this state clients reclaim their opens and locks after an instance was replaced (decision 29).
"""

from __future__ import annotations

import re
from typing import Final
from uuid import NAMESPACE_URL, uuid5

import structlog

from atoll.cloud.base import Cloud
from atoll.driver.storage import PrivateStorage
from atoll.driver.timing import timed
from atoll.errors import GuestError
from atoll.guest.base import Guest, WantedState
from atoll.model.keys import server_key, state_key

log = structlog.get_logger(__name__)

STATE_VOLUME: Final = "state_volume_id"
STATE_IN_USE: Final = "state_in_use"
"""The key is set when the volume has a file system. The file system is never made again then."""
SIZE_GIB: Final = 1
"""The least size of a volume. The state itself has some kilobytes for each client."""
_HOST_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_-]*")


def host_name(name: str) -> str:
    """The host name that an instance with this name gives itself when it first boots."""
    label = name.split(".")[0].lower()
    return label[:63] if _HOST_NAME.fullmatch(label) else "atoll"


class ServerStates:
    """The state volumes of one cloud, with what is stored about them."""

    def __init__(self, cloud: Cloud, storage: PrivateStorage, hostname: str) -> None:
        """``hostname`` is the template of the servers' host names."""
        self._cloud = cloud
        self._storage = storage
        self._hostname = hostname

    def provide(self, server_id: str, availability_zone: str = "") -> None:
        """Make the server's state volume if it has none."""
        owner = server_key(server_id)
        volume_id = self._storage.get(owner, STATE_VOLUME)
        if volume_id:
            if self._cloud.volumes.get_volume(volume_id) is not None:
                return
            log.error("state_volume_lost", share_server_id=server_id, volume=volume_id)
        volume = self._cloud.volumes.create_volume(
            state_key(server_id), SIZE_GIB, availability_zone=availability_zone
        )
        self._storage.update(owner, {STATE_VOLUME: volume.id, STATE_IN_USE: ""})

    def begin_attaching(self, server_id: str, instance_id: str) -> None:
        """Begin to attach the volume to an instance, which may still be booting."""
        self._cloud.compute.begin_attaching(instance_id, self._volume_id(server_id))

    def keep(self, server_id: str, instance_id: str, guest: Guest, deadline: float) -> None:
        """Have the instance keep its NFS server's state on the volume.

        ``deadline`` is in seconds. Raises ``GuestError``, or the cloud's own error if the volume
        could not be attached.
        """
        owner = server_key(server_id)
        volume_id = self._volume_id(server_id)
        is_on_its_way = self._cloud.compute.begin_attaching(instance_id, volume_id)
        is_new = not self._storage.get(owner, STATE_IN_USE)
        fsid = str(uuid5(NAMESPACE_URL, state_key(server_id)))
        hostname = host_name(self._hostname % server_id)
        wanted = WantedState(volume_id, fsid, may_format=is_new, hostname=hostname)
        with timed("state_kept", instance=instance_id):
            try:
                # The agent stops an NFS server with another state while the cloud attaches the
                # volume, and waits for the disk itself.
                guest.keep_state(wanted, deadline=deadline)
            except GuestError:
                if not is_on_its_way:
                    raise
                # This raises the cloud's own error if the volume could not be attached.
                self._cloud.compute.attach_volume(instance_id, volume_id)
                guest.keep_state(wanted, deadline=deadline)
            else:
                # This waits until it is complete.
                self._cloud.compute.attach_volume(instance_id, volume_id)
        if is_new:
            self._storage.update(owner, {STATE_IN_USE: "yes"})

    def remove(self, server_id: str) -> None:
        """Delete the volume. No NFS server uses it any more."""
        volume = self._cloud.volumes.find_volume(state_key(server_id))
        if volume is None:
            return
        self._storage.check_current()
        if volume.instance_id is not None:
            self._cloud.compute.detach_volume(volume.instance_id, volume.id)
        self._cloud.volumes.delete_volume(volume.id)

    def _volume_id(self, server_id: str) -> str:
        return self._storage.get(server_key(server_id), STATE_VOLUME) or ""
