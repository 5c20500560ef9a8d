"""Direct use of the OpenStack that ``OS_CLOUD`` names, for comparison.

It boots a server with the service image by openstacksdk until its first login, and creates and
attaches a volume. The volume is polled five times a second (the SDK polls every two seconds).
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import openstack
from openstack.connection import Connection

from atoll.cloud.openstack import OpenStackCloud
from atoll.image.seed import user_data
from bench.bare import until_login
from harness.client_server import delete_server
from harness.machine import Machine

PAUSE = 0.2


def connection() -> Connection:
    """A connection of the SDK, by ``OS_CLOUD`` or the other variables."""
    return openstack.connect(cloud=os.environ.get("OS_CLOUD"))


@contextmanager
def users_network(
    cloud: Connection, name: str, cidr: str, routed: bool = False
) -> Iterator[tuple[str, str]]:
    """Make a network and a subnet, perhaps with a router, as a user would; yield their ids."""
    neutron: Any = cloud.network
    with ExitStack() as stack:
        network = neutron.create_network(name=name)
        stack.callback(neutron.delete_network, network.id)
        subnet = neutron.create_subnet(name=name, network_id=network.id, ip_version=4, cidr=cidr)
        if routed:
            router = neutron.create_router(name=name)
            stack.callback(neutron.delete_router, router.id)
            neutron.add_interface_to_router(router.id, subnet_id=subnet.id)
            stack.callback(neutron.remove_interface_from_router, router.id, subnet_id=subnet.id)
        yield network.id, subnet.id


class BareServer(Machine):
    """A server with the service image in the service network, which this machine can reach."""

    def __init__(self, cloud: Connection, atoll: OpenStackCloud, directory: Path) -> None:
        super().__init__(directory, "bench-bare")
        self._cloud = cloud
        self._atoll = atoll
        self._port = atoll.networks.create_port("bench", atoll.networks.service_network().id)
        cloud.network.update_port(self._port.id, admin_state_up=True)  # like a port of a user
        self._login = (self._port.addresses[0], 22)
        self._id = ""
        atoll.reach(self.login_address)

    def start(self) -> None:
        """Request the server without waiting for it."""
        wish = {
            "name": self.name,
            "image_id": self._atoll.images.service_image().id,
            "flavor_id": self._atoll.settings.service_instance_flavor_id,
            "networks": [{"port": self._port.id}],
            "config_drive": True,
            "user_data": base64.b64encode(user_data(**self._identity()).encode()).decode(),
        }
        self._id = self._cloud.compute.create_server(**wish).id

    def boot(self) -> float:
        """Boot the server; return the seconds from the request until the first login."""
        self._make_keys()
        begun = time.perf_counter()
        self.start()
        until_login(self, begun)
        return time.perf_counter() - begun

    def console(self) -> str:
        """The end of the console output."""
        return str(self._cloud.compute.get_server_console_output(self._id, length=60)["output"])

    def stop(self) -> None:
        """Delete the server and its port."""
        if self._id:
            delete_server(self._cloud.compute, self._id)
        self._atoll.networks.delete_port(self._port.id)

    def attach_a_volume(self, number: int) -> tuple[float, float]:
        """Seconds to create a volume of 1 GiB, and to attach it; it is deleted afterwards."""
        storage: Any = self._cloud.block_storage
        compute = self._cloud.compute
        begun = time.perf_counter()
        volume = storage.create_volume(name=f"bench {number}", size=1)
        storage.wait_for_status(volume, "available", interval=PAUSE, wait=120)
        made = time.perf_counter()
        compute.create_volume_attachment(self._id, volume_id=volume.id)
        storage.wait_for_status(volume, "in-use", interval=PAUSE, wait=120)
        attached = time.perf_counter()
        compute.delete_volume_attachment(self._id, volume.id)
        storage.wait_for_status(volume, "available", interval=PAUSE, wait=120)
        storage.delete_volume(volume)
        return made - begun, attached - made
