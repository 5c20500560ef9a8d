"""What the demo's user has in OpenStack: a network, a subnet, a router, and floating addresses.

Everything has the run's mark in its description, so that it can always be found and removed.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from openstack import exceptions
from openstack.connection import Connection

from harness.audit import users_mark

CIDR = "10.77.0.0/24"


class UserNetwork:
    """A user's network, with a router to the external network."""

    def __init__(self, connection: Connection, run: str, external_network_id: str) -> None:
        self._neutron: Any = connection.network
        self._mark = users_mark(run)
        self._name = f"atoll-demo-{run}"
        self._external_id = external_network_id
        self.id = ""
        self.subnet_id = ""
        self.router_id = ""
        self._group_id = ""

    def make(self) -> None:
        """Make the network, the subnet, the router and the security group."""
        marks = {"name": self._name, "description": self._mark}
        neutron = self._neutron
        self.id = neutron.create_network(**marks).id
        self.subnet_id = neutron.create_subnet(
            **marks, network_id=self.id, ip_version=4, cidr=CIDR
        ).id
        gateway = {"network_id": self._external_id}
        self.router_id = neutron.create_router(**marks, external_gateway_info=gateway).id
        neutron.add_interface_to_router(self.router_id, subnet_id=self.subnet_id)
        self._group_id = neutron.create_security_group(**marks).id
        self.let_in(22)

    def let_in(self, port: int) -> None:
        """Allow access to this TCP port of the machines from everywhere."""
        self._neutron.create_security_group_rule(
            security_group_id=self._group_id,
            direction="ingress",
            ether_type="IPv4",
            protocol="tcp",
            port_range_min=port,
            port_range_max=port,
        )

    def plug(self, name: str) -> tuple[str, str]:
        """Make a port with a floating address; return the port's id and the address."""
        port = self._neutron.create_port(
            name=f"{self._name}-{name}",
            description=self._mark,
            network_id=self.id,
            security_groups=[self._group_id],
        )
        floating = self._neutron.create_ip(
            description=self._mark, floating_network_id=self._external_id, port_id=port.id
        )
        return str(port.id), str(floating.floating_ip_address)

    def unplug(self, port_id: str) -> None:
        """Remove a port, which may be absent, and its floating address."""
        for floating in self._neutron.ips(port_id=port_id):
            self._neutron.delete_ip(floating.id)
        self._neutron.delete_port(port_id)

    def remove(self) -> None:
        """Remove everything with the mark. It may be called again, and after any failure."""
        neutron = self._neutron
        for floating in self._marked(neutron.ips()):
            neutron.delete_ip(floating.id)
        for router in self._marked(neutron.routers(name=self._name)):
            for port in neutron.ports(device_id=router.id, device_owner="network:router_interface"):
                neutron.remove_interface_from_router(router.id, port_id=port.id)
            neutron.delete_router(router.id)
        for port in self._marked(neutron.ports(description=self._mark)):
            neutron.delete_port(port.id)
        for network in self._marked(neutron.networks(name=self._name)):
            neutron.delete_network(network.id)
        for group in self._marked(neutron.security_groups(name=self._name)):
            self._delete_group(group.id)

    def _delete_group(self, group_id: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # Neutron releases a server's port a moment later
            with suppress(exceptions.ConflictException):
                self._neutron.delete_security_group(group_id)
                return
            time.sleep(1)

    def _marked(self, found: Any) -> list[Any]:
        return [thing for thing in found if thing.description == self._mark]
