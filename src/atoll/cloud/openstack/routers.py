"""Users' routers that Atoll's subnets are plugged into.

The interface is a port that Atoll makes, with the subnet's gateway address, and then gives to the
router. It has an owner (``router_interface/<Atoll's subnet>/<subnet that it leads to>``), and only
such interfaces are ever removed. Neutron gives an address out once, so two workers can't make two.
"""

from __future__ import annotations

from contextlib import suppress

from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.neutron import Neutron
from atoll.cloud.openstack.subnets import Subnets
from atoll.cloud.sole import sole
from atoll.errors import CloudError, CloudNotFound

INTERFACE = "router_interface/"
_ROUTERS = ("network:router_interface", "network:ha_router_replicated_interface")
_DIRECTLY = (
    "Give the subnet a gateway and plug it into a router, or set "
    "connect_share_server_to_tenant_network to true."
)


class Routers:
    """The interfaces that Atoll made in users' routers."""

    def __init__(self, neutron: Neutron, subnets: Subnets) -> None:
        self._neutron = neutron
        self._subnets = subnets
        self._ports = neutron.ports

    def connect(self, subnet_id: str, to_subnet_id: str) -> str:
        """Plug Atoll's subnet into the other one's gateway router, and return the router's id."""
        subnet = self._neutron.subnets.get(subnet_id)
        if subnet is None or not self._subnets.is_extra(subnet):
            raise CloudNotFound(f"There is no subnet {subnet_id} of this deployment.")
        if not subnet["gateway_ip"]:
            raise CloudError(f"Atoll's subnet {subnet_id} was made without a gateway.")
        router_id = self.gateway_of(to_subnet_id)
        # Neutron doesn't answer for a minute if several workers plug in one port at the same time.
        # So the worker that has made the port is given time to plug it in.
        interface = sole(
            lambda: self._interfaces(subnet_id),
            lambda found: next((port for port in found if port["device_id"]), None),
            lambda: self._plug(self._make_interface(subnet, to_subnet_id), router_id),
            lambda found: self._plug(found, router_id),
        )
        if interface["device_id"] != router_id:
            raise CloudError(
                f"Subnet {subnet_id} is plugged into the router {interface['device_id']}, but "
                f"the gateway of subnet {to_subnet_id} is the router {router_id}."
            )
        return router_id

    def gateway_of(self, subnet_id: str) -> str:
        """Id of the router that has the gateway's address of a user's subnet."""
        subnet = self._neutron.subnets.get(subnet_id)
        if subnet is None:
            raise CloudNotFound(f"There is no subnet {subnet_id}.")
        gateway = subnet["gateway_ip"]
        if not gateway:
            raise CloudError(f"The subnet {subnet_id} has no gateway.", hint=_DIRECTLY)
        holders = self._ports.find(
            network_id=subnet["network_id"], fixed_ips=f"ip_address={gateway}"
        )
        for port in holders:
            if port["device_owner"].startswith(_ROUTERS):
                return str(port["device_id"])
        raise CloudError(
            f"No router has the gateway's address {gateway} of the subnet {subnet_id}.",
            hint=_DIRECTLY,
        )

    def disconnect(self, router_id: str, subnet_id: str) -> None:
        """Unplug Atoll's subnet from that router. It may be unplugged already."""
        interface = self.interface(subnet_id)
        if interface is not None and interface["device_id"] in ("", router_id):
            self.remove(interface)

    def remove(self, interface: Json) -> None:
        """Unplug an interface from its router, if it is plugged in, and remove it."""
        if interface["device_id"]:
            path = f"/routers/{interface['device_id']}/remove_router_interface"
            with suppress(CloudNotFound):
                self._neutron.api.put(path, {"port_id": interface["id"]})
        self._ports.delete(interface["id"])  # unplugging usually removes the port, too

    def interface(self, subnet_id: str) -> Json | None:
        """The port that connects Atoll's subnet to a router. It may not be plugged in yet."""
        return next(iter(self._interfaces(subnet_id)), None)

    def _interfaces(self, subnet_id: str) -> list[Json]:
        found = self._ports.find(fixed_ips=f"subnet_id={subnet_id}")
        return [port for port in found if self.is_interface(port)]

    def is_interface(self, port: Json) -> bool:
        """Whether the port is, or will be, an interface that Atoll made in a router."""
        return (self._neutron.owner_of(port) or "").startswith(INTERFACE)

    def routers(self) -> dict[str, str]:
        """Ids of routers, by the ids of Atoll's subnets that are plugged into them."""
        found = filter(self.is_interface, self._ports.ours())
        return {
            port["fixed_ips"][0]["subnet_id"]: port["device_id"]
            for port in found
            if port["device_id"] and port["fixed_ips"]
        }

    def client_cidrs(self, subnet_id: str) -> list[str]:
        """The ranges of the user's network that Atoll's subnet is connected to."""
        interface = self.interface(subnet_id)
        if interface is None:
            return []
        to_subnet_id = str(self._neutron.owner_of(interface)).rpartition("/")[2]
        to_subnet = self._neutron.subnets.get(to_subnet_id)
        if to_subnet is None:
            return []
        return [each["cidr"] for each in self._subnets.in_network(to_subnet["network_id"])]

    def _make_interface(self, subnet: Json, to_subnet_id: str) -> Json:
        return self._ports.create(
            f"{INTERFACE}{subnet['id']}/{to_subnet_id}",
            network_id=subnet["network_id"],
            fixed_ips=[{"subnet_id": subnet["id"], "ip_address": subnet["gateway_ip"]}],
            security_groups=[],
        )

    def _plug(self, interface: Json, router_id: str) -> Json:
        path = f"/routers/{router_id}/add_router_interface"
        try:
            self._neutron.api.put(path, {"port_id": interface["id"]})
        except CloudError:
            plugged = self._ports.get(interface["id"])
            if plugged is None or not plugged["device_id"]:
                raise
            return plugged  # another worker has plugged it in, or the first answer was lost
        return interface | {"device_id": router_id}
