"""Networks in Neutron: the service network, users' networks, and Atoll's own subnets and ports."""

from __future__ import annotations

from collections import defaultdict

from atoll.cloud.base import Network, OwnedSubnet, Port, Subnet
from atoll.cloud.openstack.api import Api, Json
from atoll.cloud.openstack.neutron import Neutron, is_marked
from atoll.cloud.openstack.ports import NeutronPorts
from atoll.cloud.openstack.routers import Routers
from atoll.cloud.openstack.service_network import ServiceNetwork
from atoll.cloud.openstack.settings import OpenStackSettings
from atoll.cloud.openstack.subnets import OF_NETWORK, Subnets, free_range, parsed, subnet_of
from atoll.errors import CloudError

SHARE_NETWORK_POOL, SHARE_NETWORK_PREFIX = "10.88.0.0/16", 24
"""The pool, and the prefix length, of ranges that ``create_network`` chooses itself."""


class NeutronNetworks:
    """Implements ``Networks``."""

    def __init__(self, api: Api, deployment: str, settings: OpenStackSettings) -> None:
        self.neutron = Neutron(api, deployment)
        self.subnets = Subnets(self.neutron)
        self.service = ServiceNetwork(self.neutron, self.subnets, settings)
        self._networks = self.neutron.networks
        self._routers = Routers(self.neutron, self.subnets)
        self.ports = NeutronPorts(
            self.neutron, self.subnets, self.service, self._routers, settings.ssh_source_cidrs
        )

    # --- networks -----------------------------------------------------------------------------

    def service_network(self) -> Network:
        """The management network between Atoll and its instances; made when missing."""
        found = self.service.provide()
        return self._network(found, self.subnets.in_network(found["id"]))

    def create_network(self, owner: str, cidr: str = "") -> Network:
        """Make an isolated network with DHCP; an empty ``cidr`` means the next free one."""
        block = parsed(cidr) if cidr else None
        found = self._networks.provide(owner, lambda network: bool(network["subnets"]))
        if not found["subnets"]:
            if block is None:
                taken = [subnet["cidr"] for subnet in self.subnets.ours()]
                block = free_range(SHARE_NETWORK_POOL, SHARE_NETWORK_PREFIX, taken)
            self.subnets.provide(OF_NETWORK, found["id"], block, gateway=False)
        return self._network(found, self.subnets.in_network(found["id"]))

    def get_network(self, network_id: str, subnet_id: str = "") -> Network | None:
        """A network by id, of any owner; None if it or the subnet in it does not exist."""
        found = self._networks.get(network_id)
        if found is None:
            return None
        subnets = self.subnets.in_network(network_id)
        if subnet_id not in ("", *(subnet["id"] for subnet in subnets)):
            return None
        return self._network(found, subnets)

    def may_use(self, network_id: str, project_id: str) -> bool:
        """Whether the project owns it, or it is shared with that project; see ``Networks``.

        An external network does not count as shared. All projects see it, but only for floating
        IPs.
        """
        found = self._networks.get(network_id)
        if found is None or self.service.is_given(network_id) or is_marked(found):
            return False
        whose = project_id or self.neutron.project_id
        if found.get("project_id", found.get("tenant_id")) == whose:
            return True
        granted = self.neutron.shared_with(network_id)
        if granted:
            return not granted.isdisjoint({"*", whose})
        # Only administrators see which projects the networks of other projects are shared with.
        return bool(found.get("shared"))

    def list_networks(self) -> list[Network]:
        """All networks of this deployment, the service network included."""
        networks = self._networks.ours()
        subnets = defaultdict(list)
        for subnet in self.subnets.ours() if networks else ():
            subnets[subnet["network_id"]].append(subnet)
        return [self._network(found, subnets[found["id"]]) for found in networks]

    def delete_network(self, network_id: str) -> None:
        """Remove a network of this deployment. Any other is left alone."""
        found = self._networks.get(network_id)
        if found is None or self.neutron.owner_of(found) is None:
            return
        for port in self.neutron.ports.find(network_id=network_id):
            if port["device_owner"] != "network:dhcp":
                raise CloudError(f"Network {network_id} still has the port {port['id']}.")
        self._networks.delete(network_id)

    # --- subnets and routers ------------------------------------------------------------------

    def create_subnet(self, owner: str, network_id: str, cidr: str, *, gateway: bool) -> Subnet:
        """Add a range with DHCP to a network; one subnet an owner in each network."""
        return subnet_of(self.subnets.provide(owner, network_id, parsed(cidr), gateway=gateway))

    def delete_subnet(self, subnet_id: str) -> None:
        """Remove what ``create_subnet`` made; any other subnet is left alone."""
        self.subnets.delete(subnet_id)

    def list_subnets(self) -> list[OwnedSubnet]:
        """All that ``create_subnet`` made for this deployment."""
        found = [subnet for subnet in self.subnets.ours() if self.subnets.is_extra(subnet)]
        routers = self._routers.routers() if found else {}
        return [
            OwnedSubnet(
                subnet["id"],
                self.neutron.owner_of(subnet) or "",
                subnet["network_id"],
                subnet["cidr"],
                routers.get(subnet["id"]),
            )
            for subnet in found
        ]

    def gateway_router(self, subnet_id: str) -> str:
        """Id of the router that is the gateway of a user's subnet."""
        return self._routers.gateway_of(subnet_id)

    def connect_router(self, subnet_id: str, to_subnet_id: str) -> str:
        """Plug Atoll's subnet into the other one's gateway router, and return the router's id."""
        router_id = self._routers.connect(subnet_id, to_subnet_id)
        self.ports.readmit(subnet_id)
        return router_id

    def disconnect_router(self, router_id: str, subnet_id: str) -> None:
        """Unplug Atoll's subnet from the router. What Atoll didn't plug in is left alone."""
        self._routers.disconnect(router_id, subnet_id)

    # --- ports --------------------------------------------------------------------------------

    def create_port(self, owner: str, network_id: str, subnet_id: str = "") -> Port:
        """Reserve a MAC and an address; one port an owner in each network (and subnet)."""
        return self.ports.create(owner, network_id, subnet_id)

    def get_port(self, port_id: str) -> Port | None:
        """The port, or None when it is gone."""
        return self.ports.get(port_id)

    def ports_of_instance(self, instance_id: str) -> list[Port]:
        """All ports of an instance. Those that Atoll didn't make have an empty owner."""
        return self.ports.of_instance(instance_id)

    def list_ports(self) -> list[Port]:
        """All ports of this deployment."""
        return self.ports.ours()

    def delete_port(self, port_id: str) -> None:
        """Give the address back."""
        self.ports.delete(port_id)

    def admit_workers(self) -> None:
        """Let workers in from where the options say, and from nowhere else, to existing instances
        too.
        """
        self.ports.admit_workers()

    def agents(self, host: str) -> list[Json]:
        """Neutron's agents on a host. Only administrators see them."""
        return list(self.neutron.api.list("/agents", "agents", host=host))

    # --- the end ------------------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """One line for each thing of this deployment that Neutron has now."""
        return [
            f"{kind} {thing['id']} of {self.neutron.owner_of(thing)}"
            for kind, things in self.neutron.kinds.items()
            for thing in things.ours()
        ]

    def purge(self) -> None:
        """Remove everything of this deployment. Safe to run again."""
        self.ports.purge()
        for subnet in self.list_subnets():
            self.delete_subnet(subnet.id)
        for network in self._networks.ours():
            self.delete_network(network["id"])

    def _network(self, found: Json, subnets: list[Json]) -> Network:
        return Network(
            found["id"],
            self.neutron.owner_of(found) or "",
            found["name"],
            tuple(map(subnet_of, subnets)),
            found.get("mtu") or 1500,
            found.get("provider:network_type") or "",
            found.get("provider:segmentation_id"),
        )
