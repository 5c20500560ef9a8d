"""The interface of a way to connect service instances.

Ports outlive instances, so a replacement keeps the addresses that clients have mounted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atoll.cloud.base import Port
from atoll.driver.resources import NetworkInfo, ServerDetails

if TYPE_CHECKING:
    from atoll.driver.service_instance import ServiceInstanceManager


@dataclass(frozen=True, slots=True)
class InstancePorts:
    """A service instance's ports."""

    management: Port
    """The port at which Atoll reaches the instance."""
    public: Port | None
    """The port at which clients reach it: the same one if the instance has only one.

    None for a warm instance, which waits for a share network.
    """

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the ports, in the order of the instance's interfaces."""
        ports = (self.management, self.public)
        return tuple(dict.fromkeys(port.id for port in ports if port is not None))

    @property
    def public_addresses(self) -> tuple[str, ...]:
        """The addresses at which clients reach the instance, IPv4 first."""
        addresses = self.public.addresses if self.public is not None else ()
        return tuple(sorted(addresses, key=lambda address: ":" in address))


class BaseNetworkhelper:
    """What ``ServiceInstanceManager`` needs of a way to connect instances (the contract's name)."""

    def __init__(self, service_instance_manager: ServiceInstanceManager) -> None:
        self._manager = service_instance_manager

    # --- the contract -----------------------------------------------------------------------

    @property
    def NAME(self) -> str:  # noqa: N802 -- the contract's spelling
        """Code name of the network helper."""
        raise NotImplementedError

    def get_network_name(self, network_info: NetworkInfo) -> str:
        """Name of the network that clients reach the instance from."""
        raise NotImplementedError

    def setup_connectivity_with_service_instances(self) -> None:
        """Make service instances reachable from this host."""
        raise NotImplementedError

    def setup_network(self, network_info: NetworkInfo) -> InstancePorts:
        """Make the instance's ports, or find them. ``let_clients_in`` may be needed, too.

        With only ``server_id``, the networks are those that are stored (for a replacement), or the
        instance is warm.
        """
        raise NotImplementedError

    def teardown_network(self, server_details: ServerDetails) -> None:
        """Remove the ports and what was made for them. They may be gone already."""
        raise NotImplementedError

    # --- beyond the contract ----------------------------------------------------------------

    def check_for_setup_error(self) -> None:
        """Raise ``ConfigurationError`` for impossible options."""

    def shut_clients_out(self, server_id: str) -> None:
        """Keep all clients from reaching the instance, even if it has no separate port for them."""
        raise NotImplementedError

    def let_clients_in(self, server_id: str) -> None:
        """Connect the instance with its clients, if its ports alone don't do that."""
        raise NotImplementedError

    def details(self, server_id: str) -> dict[str, str]:
        """Ids of ports, subnets and routers, for the share server's details."""
        raise NotImplementedError
