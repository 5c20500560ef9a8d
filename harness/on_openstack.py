"""The story on the OpenStack that ``OS_CLOUD``, or the other ``OS_…`` variables, name.

``atoll serve`` runs on this machine with its own state directory. The user has a network on a
router, and a server in Nova with a floating address. All of it is made here and removed at the end.
The service image remains in Glance, and in the cache on this machine, for the next run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import openstack
from openstack.connection import Connection
from openstack.shared_file_system.v2._proxy import Proxy
from rich.console import Console

from atoll.cli.bootstrap import known_deployment
from atoll.cli.image import upload
from atoll.config import load
from atoll.db.database import Database
from harness import openstack_choices as choices
from harness.audit import Audit, deployment_mark, users_mark
from harness.client_server import ClientServer, delete_server
from harness.leaks import interfaces, mounts, processes
from harness.service import Service
from harness.steps import Steps
from harness.user_network import UserNetwork

KEPT = {"service_network", "network", "ssh"}
"""Owners of what is removed only together with the deployment."""

Options = Mapping[str, Mapping[str, object]]


class OnOpenStack:
    """A deployment in a project of a cloud, and a user of that cloud."""

    def __init__(
        self,
        directory: Path,
        console: Console,
        options: Options | None = None,
        name: str = "",
        user_project: str = "",
    ) -> None:
        """``options`` are additional settings of the service, by table of atoll.toml.

        The user works in Atoll's project, or in ``user_project``, with the same credentials.
        """
        self.run = name or uuid4().hex[:6]
        self.connection: Connection = openstack.connect(app_name="atoll-demo")
        self.user = choices.user(self.connection, user_project)
        self.audit = Audit(self.connection)
        self._user_audit = self.audit if self.user is self.connection else Audit(self.user)
        self.flavor_id = choices.flavor(self.connection)
        self.network = UserNetwork(self.user, self.run, choices.external_network(self.user))
        self.image_id = ""
        self._directory = directory
        self._console = console
        self._clients: list[ClientServer] = []
        self._hosts: set[str] = set()
        self.service = Service(directory / "service")
        self.configure(options or {})

    def configure(self, options: Options) -> None:
        """Write the service's configuration, which takes effect at its next start."""
        interface = choices.service_network_interface(self.connection)
        self.service.configure(_config(self.flavor_id, interface, options))

    # --- a place ----------------------------------------------------------------------------

    def prepare(self, steps: Steps) -> None:
        """Upload the service image, make the user's network, and start the service."""
        with steps.step("service image in Glance") as step:
            image = upload(load(self.service.config), self._console)
            self.image_id = image.id
            step.detail = image.name
        with steps.step("the user's network and router") as step:
            self.network.make()
            step.detail = self.network.id
        self._start(steps)

    def _start(self, steps: Steps) -> None:
        with steps.step("service up") as step:
            self.service.start()
            step.detail = self.service.url

    def share_network(self, shares: Proxy) -> tuple[str, str]:
        """A share network on the user's network."""
        made = shares.create_share_network(
            name="demo", neutron_net_id=self.network.id, neutron_subnet_id=self.network.subnet_id
        )
        return made.id, f"on the user's network {self.network.id}"

    def boot_client(self, name: str = "client") -> ClientServer:
        """Start the user's server."""
        client = ClientServer(
            self._directory,
            self.user,
            self.network,
            run=self.run,
            image_id=self.image_id,
            flavor_id=self.flavor_id,
            name=name,
        )
        self._clients.append(client)
        client.start()
        return client

    def stop(self) -> list[str]:
        """End everything; return a line for each thing left in the project or on this machine."""
        for client in self._clients:
            client.stop()
        try:
            self.service.stop()
            too_much = self._before_purge()
            self.service.run("purge", "--yes")
        finally:
            self._remove_users()
        marks = [users_mark(self.run), *self._deployment_marks()]
        state = self.service.state
        left = {*self.audit.left(*marks), *self._user_audit.left(*marks)}
        devices = sorted(f"interface {name}" for name in interfaces() & self._hosts)
        return [*too_much, *sorted(left), *processes(state), *mounts(state), *devices]

    # --- the end ----------------------------------------------------------------------------

    def _deployment_marks(self) -> list[str]:
        """The deployment's mark, if there is a deployment."""
        file = self.service.state / "atoll.sqlite"
        if not file.exists():
            return []
        database = Database(f"sqlite:///{file}")
        try:
            known = known_deployment(database)
        finally:
            database.close()
        return [deployment_mark(known)] if known else []

    def _before_purge(self) -> list[str]:
        """What the deployment should not have after its users have deleted everything."""
        ours = self.audit.of(*self._deployment_marks())
        for thing in ours:
            if thing.kind == "port" and thing.owner.startswith("host/"):
                self._hosts |= {f"{prefix}{thing.id[:11]}" for prefix in ("ns-", "tap")}
        return [
            f"before the purge: {thing}"
            for thing in ours
            if thing.owner not in KEPT and not thing.owner.startswith("host/")
            if thing.detail != "network:dhcp" and thing.kind != "server group"
        ]

    def _remove_users(self) -> None:
        nova: Any = self.user.compute
        for thing in self._user_audit.of(users_mark(self.run)):
            if thing.kind == "server":
                delete_server(nova, thing.id)
        self.network.remove()


def _config(flavor_id: str, interface: str, options: Options) -> str:
    """The configuration as TOML."""
    tables: dict[str, dict[str, object]] = {
        "openstack": {
            "service_instance_flavor_id": flavor_id,
            "service_network_interface": interface,
        }
    }
    for table, values in options.items():
        tables.setdefault(table, {}).update(values)
    lines = ['cloud = "openstack"']
    for table, values in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{name} = {_toml(value)}" for name, value in values.items()]
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else json.dumps(str(value))
