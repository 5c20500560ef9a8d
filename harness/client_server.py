"""The user's server in Nova, on the user's network, with a floating address."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from openstack.connection import Connection

from atoll.image.seed import user_data
from harness.audit import users_mark
from harness.machine import Machine
from harness.user_network import UserNetwork

CONSOLE_LINES = 60
DELETE_SECONDS = 180


class ClientServer(Machine):
    """A client in Nova."""

    connect_seconds = 20

    def __init__(
        self,
        directory: Path,
        connection: Connection,
        network: UserNetwork,
        *,
        run: str,
        image_id: str,
        flavor_id: str,
        name: str = "client",
    ) -> None:
        super().__init__(directory, name)
        self._nova: Any = connection.compute
        self._network = network
        self._mark = users_mark(run)
        self._image_id = image_id
        self._flavor_id = flavor_id
        self._port_id = ""
        self._server_id = ""

    @property
    def server_name(self) -> str:
        """The server's name in Nova."""
        return f"{self._mark.replace(':', '-')}-{self.name}"

    def start(self) -> None:
        """Start the boot without waiting for it."""
        self._make_keys()
        self._port_id, address = self._network.plug(self.name)
        self._login = (address, 22)
        kind, _, run = self._mark.partition(":")
        self._server_id = self._nova.create_server(
            name=self.server_name,
            metadata={kind: run},
            image_id=self._image_id,
            flavor_id=self._flavor_id,
            networks=[{"port": self._port_id}],
            config_drive=True,
            user_data=base64.b64encode(user_data(**self._identity()).encode()).decode(),
        ).id

    def stop(self) -> None:
        """Delete the server and its port. It may be called again."""
        if self._server_id:
            self._log_out()
            delete_server(self._nova, self._server_id)
            self._server_id = ""
        if self._port_id:
            self._network.unplug(self._port_id)
            self._port_id = ""

    def wait(self) -> None:
        """Wait until it accepts SSH. Raises ``CommandFailed``, or the SDK's error for a fault."""
        self._nova.wait_for_server(self._nova.get_server(self._server_id), wait=300)
        super().wait()

    def console(self) -> str:
        """The end of the console output."""
        answer = self._nova.get_server_console_output(self._server_id, length=CONSOLE_LINES)
        return str(answer["output"])


def delete_server(nova: Any, server_id: str) -> None:
    """Delete a server, which may be absent, and wait until it is gone."""
    nova.delete_server(server_id)
    server = nova.find_server(server_id, ignore_missing=True)
    if server is not None:
        nova.wait_for_delete(server, wait=DELETE_SECONDS)
