"""The interface of places for the story, which are this machine and OpenStack."""

from __future__ import annotations

from typing import Protocol

from openstack.shared_file_system.v2._proxy import Proxy

from harness.machine import Machine
from harness.service import Service
from harness.steps import Steps


class Place(Protocol):
    """A deployment, a user's network and machine, and a check of what is left."""

    service: Service

    def prepare(self, steps: Steps) -> None:
        """Prepare the service image and the user's network, and start the service."""

    def share_network(self, shares: Proxy) -> tuple[str, str]:
        """The id of the share network of the user's machine, and a description of it.

        The id is empty if shares need no share network.
        """

    def boot_client(self) -> Machine:
        """Start the user's machine."""

    def stop(self) -> list[str]:
        """End everything; return a line for each thing left. It may be called again."""
