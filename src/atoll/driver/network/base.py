"""What is asked of a way to connect service instances.

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
    """A service instance's places in networks."""

    management: Port
    """Where Atoll reaches the instance."""
    public: Port | None
    """Where clients do; the same port where the instance has only one. None for a warm instance
    that waits for a share network's."""

    @property
    def ids(self) -> tuple[str, ...]:
        """In the order of the instance's interfaces."""
        ports = (self.management, self.public)
        return tuple(dict.fromkeys(port.id for port in ports if port is not None))

    @property
    def public_addresses(self) -> tuple[str, ...]:
        """Where clients reach the instance, IPv4 first."""
        addresses = self.public.addresses if self.public is not None else ()
        return tuple(sorted(addresses, key=lambda address: ":" in address))


class BaseNetworkhelper:
    """What ``ServiceInstanceManager`` asks of a way to connect instances (contract's name)."""

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
        """Make the instance's ports, or find them; ``let_clients_in`` may be needed, too.

        With only ``server_id``, what is remembered stands for the networks (a replacement), or the
        instance is warm.
        """
        raise NotImplementedError

    def teardown_network(self, server_details: ServerDetails) -> None:
        """Remove the ports and what was made for them. Absent is fine."""
        raise NotImplementedError

    # --- beyond the contract ----------------------------------------------------------------

    def check_for_setup_error(self) -> None:
        """Raise ``ConfigurationError`` for options that can't be."""

    def shut_clients_out(self, server_id: str) -> None:
        """No client reaches the instance, also where it has no port of its own for them."""
        raise NotImplementedError

    def let_clients_in(self, server_id: str) -> None:
        """Connect the instance with its clients, where its ports alone don't do that."""
        raise NotImplementedError

    def details(self, server_id: str) -> dict[str, str]:
        """Ids of what the instance has in networks, for the share server's details."""
        raise NotImplementedError
