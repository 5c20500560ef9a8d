"""The story on this machine, with the cloud ``local`` and a client in QEMU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openstack.shared_file_system.v2._proxy import Proxy
from rich.console import Console

from atoll.cli.image import build
from atoll.config import load
from harness.client_vm import ClientVm
from harness.leaks import Before
from harness.service import Service
from harness.steps import Steps
from harness.story import MICROVERSION
from harness.wait import wait


class ThisMachine:
    """``atoll serve`` on this machine, and clients on its share network's bridge."""

    def __init__(self, directory: Path, console: Console) -> None:
        self._directory = directory
        self._console = console
        self._before = Before()
        self._bridge = ""
        self._image = Path()
        self._clients: list[ClientVm] = []
        self.service = Service(directory / "service")

    def prepare(self, steps: Steps) -> None:
        """Build the service image, and start the service."""
        with steps.step("service image") as step:
            image = build(load(state_dir=self._directory), self._console)
            self._image = image.path
            step.detail = f"{image.path.stat().st_size / 2**20:.0f} MiB"
        with steps.step("service up") as step:
            self.service.start()
            step.detail = self.service.url

    def share_network(self, shares: Proxy) -> tuple[str, str]:
        """The share network ``default``, once its network exists."""
        [network] = [n for n in shares.share_networks() if n.name == "default"]

        def described() -> Any:
            path = f"/share-networks/{network.id}"
            answer = shares.get(path, microversion=MICROVERSION).json()
            [subnet] = answer["share_network"]["share_network_subnets"]
            return subnet if subnet["cidr"] else None

        subnet = wait("the share network's network", described, 60)
        self._bridge = bridge_of(subnet["neutron_net_id"])
        return network.id, f"{subnet['cidr']} on {subnet['neutron_net_id']}"

    def boot_client(self) -> ClientVm:
        """Start the user's machine on the share network's bridge."""
        client = ClientVm(self._directory, self._image, self._bridge)
        self._clients.append(client)
        client.start()
        return client

    def stop(self) -> list[str]:
        """End everything; return a line for each thing left in the cloud or on the machine."""
        for client in self._clients:
            client.stop()
        self.service.stop()
        purged = self.service.run("purge", "--yes").splitlines()
        # Purge may find only the service network, which exists as long as the deployment.
        made = [line for line in purged if "service_network" not in line]
        return [*made, *self._before.leaks(self.service.state)]


def bridge_of(network_id: str) -> str:
    """The device name of a network of the cloud "local": the deployment's mark, then the id."""
    [device] = Path("/sys/class/net").glob(f"at*-{network_id[:8]}")
    return device.name
