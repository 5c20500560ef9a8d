"""How workers log in to instances: by a port of their host, by routes, or through a bastion."""

from __future__ import annotations

import threading
import time

import structlog

from atoll.cloud.base import Access
from atoll.cloud.openstack.host_port import HostPort
from atoll.cloud.openstack.networks import NeutronNetworks
from atoll.cloud.openstack.settings import OpenStackSettings
from atoll.errors import CloudError
from atoll.guest.base import Guest
from atoll.guest.bastion import Bastion
from atoll.guest.channel import open_guest
from atoll.guest.host_key import host_key
from atoll.guest.private_file import sweep
from atoll.guest.ssh import SshOptions

log = structlog.get_logger(__name__)

PAUSE = 60.0
"""Seconds after a failure until Neutron is asked again to let workers in."""


class Channels:
    """Opens channels to instances, in the way that is configured."""

    def __init__(self, networks: NeutronNetworks, settings: OpenStackSettings) -> None:
        self._networks = networks
        self._settings = settings
        self.folder = settings.state_dir.absolute() / "channels"
        sweep(self.folder)
        self.host_port = HostPort(networks, settings)
        self._are_admitted = False
        self._admit_at = 0.0
        self._admitting = threading.Lock()

    @property
    def bastion(self) -> Bastion | None:
        """The bastion, if there is one.

        Raises ``ConfigurationError`` for a key that can't be read.
        """
        settings = self._settings
        if not settings.ssh_proxy_jump:
            return None
        pinned = settings.ssh_proxy_host_key
        return Bastion(
            settings.ssh_proxy_jump.host,
            settings.ssh_proxy_jump.user,
            settings.ssh_proxy_jump.port,
            settings.ssh_proxy_private_key,
            host_key(pinned, "ssh_proxy_host_key") if pinned else "",
        )

    def open(self, access: Access, deadline: float) -> Guest:
        """A channel, waiting for the instance's boot until ``deadline`` (seconds)."""
        bastion = self.bastion
        self._admit_workers()
        self.host_port.reach(access.address)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_guest(access, SshOptions(self.folder, bastion=bastion), deadline)

    def _admit_workers(self) -> None:
        """Runs once per worker: a new one may have other options than those that run already.

        Channels don't wait for it, because workers are usually let in already and Neutron may be
        unavailable.
        """
        if self._are_admitted or not self._admitting.acquire(blocking=False):
            return
        try:
            if time.monotonic() >= self._admit_at:
                self._networks.admit_workers()
                self._are_admitted = True
        except CloudError as error:
            self._admit_at = time.monotonic() + PAUSE
            log.warning("openstack.workers_not_admitted", error=str(error))
        finally:
            self._admitting.release()
