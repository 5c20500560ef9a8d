"""How a service instance is connected: ports, before there is an instance to plug them into.

A service instance has two interfaces: the first in the service network, which Atoll reaches it
through, the second in the user's own network, where clients mount from. Ports outlive instances,
so a replacement keeps the addresses that clients have mounted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atoll.cloud.base import Port
from atoll.driver.resources import NetworkInfo, ServerDetails, server_key
from atoll.errors import ServiceInstanceException

if TYPE_CHECKING:
    from atoll.driver.service_instance import ServiceInstanceManager

SERVICE_PORT = "service_port_id"
PUBLIC_PORT = "public_port_id"
NETWORK = "neutron_net_id"
SUBNET = "neutron_subnet_id"


@dataclass(frozen=True, slots=True)
class InstancePorts:
    """A service instance's places in networks."""

    service: Port
    public: Port | None
    """None for a warm instance, which waits for a share network."""

    @property
    def ids(self) -> tuple[str, ...]:
        """In the order of the instance's interfaces."""
        ports = (self.service, self.public)
        return tuple(port.id for port in ports if port is not None)

    @property
    def public_addresses(self) -> tuple[str, ...]:
        """Where clients reach the instance, IPv4 first."""
        addresses = self.public.addresses if self.public is not None else ()
        return tuple(sorted(addresses, key=lambda address: ":" in address))


class BaseNetworkhelper:
    """What ``ServiceInstanceManager`` asks of a way to connect instances (contract's name)."""

    def __init__(self, service_instance_manager: ServiceInstanceManager) -> None:
        self._manager = service_instance_manager

    @property
    def NAME(self) -> str:  # noqa: N802 -- the contract's spelling
        """Code name of the network helper."""
        raise NotImplementedError

    def get_network_name(self, network_info: NetworkInfo) -> str:
        """Name of the network that clients reach the instance through."""
        raise NotImplementedError

    def setup_connectivity_with_service_instances(self) -> None:
        """Make service instances reachable from this host."""
        raise NotImplementedError

    def setup_network(self, network_info: NetworkInfo) -> InstancePorts:
        """Make the instance's ports, or find them."""
        raise NotImplementedError

    def teardown_network(self, server_details: ServerDetails) -> None:
        """Remove the ports. Absent is fine."""
        raise NotImplementedError


class DirectNetworkHelper(BaseNetworkhelper):
    """One port in the service network and one directly in the user's network."""

    @property
    def NAME(self) -> str:  # noqa: N802 -- the contract's spelling
        """Code name of the network helper."""
        return "direct"

    def get_network_name(self, network_info: NetworkInfo) -> str:
        """Name of the user's network. Raises ``ServiceInstanceException`` if it is gone."""
        network_id = network_info["neutron_net_id"]
        network = self._manager.cloud.networks.get_network(network_id)
        if network is None:
            raise ServiceInstanceException(f"The network {network_id} does not exist.")
        return network.name or network.id

    def setup_connectivity_with_service_instances(self) -> None:
        """The cloud connects this host to its service network when it makes that."""
        self._manager.cloud.networks.service_network()

    def setup_network(self, network_info: NetworkInfo) -> InstancePorts:
        """Make the ports, or find them, and write them down."""
        owner = server_key(network_info["server_id"])
        networks = self._manager.cloud.networks
        service = self._port(owner, SERVICE_PORT)
        if service is None:
            service = networks.create_port(owner, networks.service_network().id)
            self._manager.storage.update(owner, {SERVICE_PORT: service.id})
        public = self._port(owner, PUBLIC_PORT)
        if public is None:
            public = self._public_port(owner, network_info)
        return InstancePorts(service, public)

    def _public_port(self, owner: str, network_info: NetworkInfo) -> Port | None:
        storage, networks = self._manager.storage, self._manager.cloud.networks
        network_id = network_info.get(NETWORK) or storage.get(owner, NETWORK)
        if not network_id:
            return None
        subnet_id = network_info.get(SUBNET) or storage.get(owner, SUBNET) or ""
        if networks.get_network(network_id, subnet_id) is None:
            raise ServiceInstanceException(
                f"The network {network_id} or its subnet {subnet_id} does not exist.",
                hint="Make a share network on a network that exists.",
            )
        storage.update(owner, {NETWORK: network_id, SUBNET: subnet_id})
        public = networks.create_port(owner, network_id, subnet_id)
        storage.update(owner, {PUBLIC_PORT: public.id})
        return public

    def teardown_network(self, server_details: ServerDetails) -> None:
        """Delete the ports, also those that were never written down."""
        owner = server_key(server_details["server_id"])
        networks = self._manager.cloud.networks
        for port in networks.list_ports():
            if port.owner == owner:
                networks.delete_port(port.id)

    def _port(self, owner: str, key: str) -> Port | None:
        port_id = self._manager.storage.get(owner, key)
        return self._manager.cloud.networks.get_port(port_id) if port_id else None
