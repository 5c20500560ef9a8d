"""Where the story happens: what differs between this machine and OpenStack."""

from __future__ import annotations

from typing import Protocol

from openstack.shared_file_system.v2._proxy import Proxy

from demo.machine import Machine
from demo.service import Service
from demo.steps import Steps


class Place(Protocol):
    """A deployment of its own, a user's network and machine, and a look at what is left."""

    service: Service

    def prepare(self, steps: Steps) -> None:
        """Have the service image, the user's network, and the service running."""

    def share_network(self, shares: Proxy) -> tuple[str, str]:
        """The share network that the user's machine is on: its id, and a word on where it is.

        The id is empty where shares need none.
        """

    def boot_client(self) -> Machine:
        """The user's machine, booting."""

    def stop(self) -> list[str]:
        """End everything, whatever has happened; a line for all that was left. Safe to repeat."""
