"""Ports in Neutron: the addresses of an owner in a network, and who may reach them.

While a server has a port, Nova writes its own name and the server's id into it, and clears both
afterwards. The description stays Atoll's. A port's MAC is derived from its owner, and Neutron
accepts a MAC only once in a network, so two workers can't make two ports for one owner.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from atoll.cloud.base import Port
from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.neutron import Neutron
from atoll.cloud.openstack.routers import Routers
from atoll.cloud.openstack.security_groups import SecurityGroups
from atoll.cloud.openstack.service_network import ServiceNetwork
from atoll.cloud.openstack.subnets import HOST, Subnets
from atoll.cloud.sole import found_or_made
from atoll.errors import CloudError, CloudNotFound

_COMPUTE = "compute:"


class NeutronPorts:
    """The deployment's ports."""

    def __init__(
        self,
        neutron: Neutron,
        subnets: Subnets,
        service: ServiceNetwork,
        routers: Routers,
        workers: Iterable[str],
    ) -> None:
        """``workers`` are ranges that ssh is let in from, in addition to the service network's."""
        self._neutron = neutron
        self._ports = neutron.ports
        self._subnets = subnets
        self._service = service
        self._routers = routers
        self.groups = SecurityGroups(neutron, workers)

    def create(self, owner: str, network_id: str, subnet_id: str) -> Port:
        """The owner's port in that network (and subnet), made if need be."""
        network = self._neutron.networks.get(network_id)
        subnets = self._subnets.in_network(network_id) if network else []
        if network is None or subnet_id not in ("", *(each["id"] for each in subnets)):
            raise CloudNotFound(f"There is no network {network_id} with subnet {subnet_id!r}.")
        if not subnets:
            raise CloudError(f"The network {network_id} has no subnet to take an address from.")
        if not subnet_id and self._service.is_own(network_id):
            subnet_id = self._service.own_subnet_id(subnets)

        def find() -> Json | None:
            found = self._ports.of(owner, network_id=network_id)
            return next((port for port in found if not subnet_id or _is_in(port, subnet_id)), None)

        def make(attempt: int) -> Json:
            tries = str(attempt) if attempt else ""  # another MAC, in case that one was taken
            mac = mac_for(self._neutron.mark(owner), network_id, subnet_id, tries)
            wish: Json = {"network_id": network_id, "mac_address": mac, "security_groups": groups}
            wish["admin_state_up"] = False  # see ``connect``
            if subnet_id:
                wish["fixed_ips"] = [{"subnet_id": subnet_id}]
            return self._ports.create(owner, **wish)

        groups = self._groups_for(network, subnets, subnet_id)
        try:
            port = self._admit(found_or_made(find, make), groups)
        except CloudNotFound:
            self.groups.forget()  # a group was removed with the last port that used it
            groups = self._groups_for(network, subnets, subnet_id)
            port = self._admit(found_or_made(find, make), groups)
        return port_of(port, owner)

    def readmit(self, subnet_id: str) -> None:
        """Let in the clients that Atoll's subnet has just been connected to."""
        ports = [
            port
            for port in self._ports.find(fixed_ips=f"subnet_id={subnet_id}")
            if self._is_for_instance(port)
        ]
        if ports:
            groups = self.groups.clients(self._routers.client_cidrs(subnet_id))
            for port in ports:
                self._admit(port, groups)

    def _groups_for(self, network: Json, subnets: list[Json], subnet_id: str) -> list[str]:
        if network.get("port_security_enabled") is False:
            return []
        cidrs = [subnet["cidr"] for subnet in subnets]
        if self._service.is_given(network["id"]):
            return [self.groups.ssh(cidrs, network["id"])]
        if not self._service.is_own(network["id"]):
            return self.groups.clients(cidrs)
        groups = [self._ssh_in_service_network(subnets)]
        if subnet_id != self._service.own_subnet_id(subnets):
            groups += self.groups.clients(self._routers.client_cidrs(subnet_id))
        return groups

    def admit_workers(self) -> None:
        """Set the rules for ssh as the options are now, wherever there are instances."""
        for network_id in self.groups.of_ssh():
            subnets = self._subnets.in_network(network_id or self._service.id)
            if not network_id:
                self._ssh_in_service_network(subnets)
            elif subnets:
                self.groups.ssh([subnet["cidr"] for subnet in subnets], network_id)

    def _ssh_in_service_network(self, subnets: list[Json]) -> str:
        return self.groups.ssh(self._service.cidrs(subnets))

    def _admit(self, port: Json, groups: Iterable[str]) -> Json:
        have = set(port["security_groups"])
        if have.issuperset(groups) or port.get("port_security_enabled") is False:
            return port
        return self._ports.update(port["id"], security_groups=sorted(have.union(groups)))

    def get(self, port_id: str) -> Port | None:
        """The port, or None if it is gone or another deployment's."""
        found = self._ports.get(port_id)
        owner = self._neutron.owner_of(found) if found else None
        return port_of(found, owner) if found and owner is not None else None

    def ours(self) -> list[Port]:
        """All ports of this deployment except those of workers, which belong to the service
        network.

        Interfaces of routers are listed with their subnets instead.
        """
        return [
            port_of(port, self._neutron.owner_of(port) or "")
            for port in self._ports.ours()
            if not self._routers.is_interface(port) and port["device_owner"] != HOST
        ]

    def delete(self, port_id: str) -> None:
        """Remove a port of this deployment. Any other is left alone."""
        found = self._ports.get(port_id)
        if found is None or self._neutron.owner_of(found) is None:
            return
        if self._routers.is_interface(found):
            self._routers.remove(found)
            return
        self._ports.delete(port_id)
        self.groups.sweep(found["security_groups"])

    def of_instance(self, instance_id: str) -> list[Port]:
        """All ports of a server, of any owner, in one request."""
        return [
            port_of(port, self._neutron.owner_of(port) or "")
            for port in self._ports.find(device_id=instance_id)
        ]

    def by_instance(self, instance_id: str) -> dict[str, tuple[str, ...]]:
        """Ids of ports by the id of their server, the one that Atoll reaches first.

        An empty ``instance_id`` means all servers. It takes one request.
        """
        plugged = self._plugged(instance_id)
        if not plugged:
            return {}
        first = self._service.management_id
        plugged.sort(key=lambda port: (port["network_id"] != first, port["id"]))
        ports: dict[str, tuple[str, ...]] = {}
        for port in plugged:
            server = str(port["device_id"])
            ports[server] = (*ports.get(server, ()), port["id"])
        return ports

    def connect(self, instance_id: str) -> list[str]:
        """Set a server's ports up, and return the ids of those that Neutron hasn't wired yet.

        A port is made administratively down, because Nova doesn't start a guest before those that
        are up are wired. Wiring takes less time than a guest's boot until it asks for DHCP.
        """
        plugged = self._plugged(instance_id)
        for port in plugged:
            if not port["admin_state_up"]:
                self.put_up(port["id"])
        return _unwired(plugged)

    def put_up(self, port_id: str) -> None:
        """Set a port up, so that packets pass it as soon as it is plugged in."""
        self._ports.update(port_id, admin_state_up=True)

    def unwired(self) -> dict[str, list[str]]:
        """Ids of ports that Neutron hasn't wired yet, by the id of their server, in one request."""
        plugged: dict[str, list[Json]] = defaultdict(list)
        for port in self._plugged(""):
            plugged[port["device_id"]].append(port)
        return {server: _unwired(ports) for server, ports in plugged.items()}

    def _plugged(self, instance_id: str) -> list[Json]:
        found = self._ports.ours(**({"device_id": instance_id} if instance_id else {}))
        return [port for port in found if _instance_id(port) is not None]

    def purge(self) -> None:
        """Remove all ports, interfaces of routers included, and the groups."""
        for port in self._ports.ours():
            self.delete(port["id"])
        self.groups.purge()

    def _is_for_instance(self, port: Json) -> bool:
        if self._neutron.owner_of(port) is None or port["device_owner"] == HOST:
            return False
        return not self._routers.is_interface(port)


def mac_for(*parts: str) -> str:
    """A MAC that is derived from the parts: unicast, locally administered."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return ":".join(("fa", *(f"{octet:02x}" for octet in digest[:5])))


def port_of(found: Json, owner: str) -> Port:
    """What Neutron says of a port, as a ``Port``."""
    addresses = [fixed["ip_address"] for fixed in found["fixed_ips"]]
    return Port(
        found["id"],
        owner,
        found["network_id"],
        found["mac_address"],
        tuple(sorted(addresses, key=lambda address: ":" in address)),
        _instance_id(found),
    )


def _instance_id(found: Json) -> str | None:
    return found["device_id"] if found["device_owner"].startswith(_COMPUTE) else None


def _unwired(ports: list[Json]) -> list[str]:
    return [port["id"] for port in ports if port["status"] != "ACTIVE"]


def _is_in(port: Json, subnet_id: str) -> bool:
    return any(fixed["subnet_id"] == subnet_id for fixed in port["fixed_ips"])
