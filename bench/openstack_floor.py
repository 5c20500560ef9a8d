"""What the same things cost by hand, on the OpenStack that ``OS_CLOUD`` names: the yardsticks.

A server of the service image, booted through openstacksdk until its first login; and a volume,
made and attached. Both look five times a second where the SDK's own waiting looks every two.
"""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openstack
from openstack.connection import Connection

from atoll.cloud.openstack import OpenStackCloud
from atoll.image.seed import user_data

BOOT_SECONDS, PAUSE = 300, 0.2
USER = "bench"


def connection() -> Connection:
    """The SDK, by ``OS_CLOUD`` or the other variables."""
    return openstack.connect(cloud=os.environ.get("OS_CLOUD"))


@contextmanager
def users_network(cloud: Connection, name: str, cidr: str) -> Iterator[tuple[str, str]]:
    """Ids of a network and its subnet, as a user would make them."""
    network = cloud.network.create_network(name=name)
    try:
        subnet = cloud.network.create_subnet(
            name=name, network_id=network.id, ip_version=4, cidr=cidr
        )
        yield network.id, subnet.id
    finally:
        cloud.network.delete_network(network.id)


class BareServer:
    """One server of the service image, in the service network, where this machine reaches it."""

    def __init__(self, cloud: Connection, atoll: OpenStackCloud, directory: Path) -> None:
        self._cloud = cloud
        self._atoll = atoll
        self._directory = directory
        self._port = atoll.networks.create_port("bench", atoll.networks.service_network().id)
        self.address = self._port.addresses[0]
        self.id = ""
        for name in ("login", "host"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True
            )
        kind, key = (directory / "host.pub").read_text().split()[:2]
        (directory / "known_hosts").write_text(f"{self.address} {kind} {key}\n")

    def boot(self) -> float:
        """Seconds from the request until the first login."""
        seed = user_data(
            user=USER,
            authorized_key=(self._directory / "login.pub").read_text(),
            host_key=(self._directory / "host").read_text(),
            host_key_public=(self._directory / "host.pub").read_text(),
            hostname="bench",
        )
        wish = {
            "name": "bench-bare",
            "image_id": self._atoll.images.service_image().id,
            "flavor_id": self._atoll.settings.service_instance_flavor_id,
            "networks": [{"port": self._port.id}],
            "config_drive": True,
            "user_data": base64.b64encode(seed.encode()).decode(),
        }
        begun = time.perf_counter()
        self.id = self._cloud.compute.create_server(**wish).id
        while not (self._greets() and self._answers()):
            if time.perf_counter() - begun > BOOT_SECONDS:
                raise RuntimeError(f"The bare server {self.id} does not come up.")
            time.sleep(PAUSE)
        return time.perf_counter() - begun

    def attach_a_volume(self, number: int) -> tuple[float, float]:
        """Seconds to make a volume of 1 GiB, and to attach it; it is gone afterwards."""
        storage, compute = self._cloud.block_storage, self._cloud.compute
        begun = time.perf_counter()
        volume = storage.create_volume(name=f"bench {number}", size=1)
        storage.wait_for_status(volume, "available", interval=PAUSE, wait=120)
        made = time.perf_counter()
        compute.create_volume_attachment(self.id, volume_id=volume.id)
        storage.wait_for_status(volume, "in-use", interval=PAUSE, wait=120)
        attached = time.perf_counter()
        compute.delete_volume_attachment(self.id, volume.id)
        storage.wait_for_status(volume, "available", interval=PAUSE, wait=120)
        storage.delete_volume(volume)
        return made - begun, attached - made

    def remove(self) -> None:
        """Server and port."""
        if self.id:
            self._cloud.compute.delete_server(self.id)
            self._cloud.compute.wait_for_delete(self._cloud.compute.get_server(self.id), wait=120)
        self._atoll.networks.delete_port(self._port.id)

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=0.5) as channel:
                return channel.recv(4) == b"SSH-"
        except OSError:
            return False

    def _answers(self) -> bool:
        argv: list[Any] = ["ssh", "-F", "none", "-i", self._directory / "login"]
        for option in (
            f"UserKnownHostsFile={self._directory / 'known_hosts'}",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
        ):
            argv += ["-o", option]
        argv += [f"{USER}@{self.address}", "true"]
        return subprocess.run(argv, check=False, capture_output=True, timeout=60).returncode == 0
