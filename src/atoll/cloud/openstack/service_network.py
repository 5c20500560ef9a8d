"""The service network: Atoll's own, made when missing, or an administrator's.

Its own subnet is the first free part of ``service_network_cidr``: a sixteenth, if that has enough
addresses. The rest is for subnets that are made later. Ranges of other deployments in the same
project are skipped, so that one host can reach all of their service networks.
"""

from __future__ import annotations

from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.neutron import Neutron, is_id
from atoll.cloud.openstack.settings import OpenStackSettings
from atoll.cloud.openstack.subnets import OF_NETWORK, Subnets, free_range, parsed
from atoll.errors import CloudNotFound
from atoll.model.keys import SERVICE_NETWORK
from atoll.ranges import Block


class ServiceNetwork:
    """The network in which Atoll reaches service instances."""

    def __init__(self, neutron: Neutron, subnets: Subnets, settings: OpenStackSettings) -> None:
        self._neutron = neutron
        self._subnets = subnets
        self._name = settings.service_network_name
        self._cidr = settings.service_network_cidr
        self._id = self._name if is_id(self._name) else ""
        self._admin_id = settings.admin_network_id

    def provide(self) -> Json:
        """The network, with a subnet.

        Raises ``CloudNotFound`` if an administrator's doesn't exist.
        """
        network = self._given(self._name) if is_id(self._name) else self._own()
        self._id = str(network["id"])
        return network

    @property
    def id(self) -> str:
        """Its id. The network is made if it is missing."""
        return self._id or str(self.provide()["id"])

    @property
    def management_id(self) -> str:
        """Id of the network that workers reach instances in."""
        return self._admin_id or self.id

    def is_own(self, network_id: str) -> bool:
        """Whether it is the one that Atoll made. This doesn't make one if it is missing."""
        if self.is_given(network_id):
            return False
        if not self._id:
            self._id = next((str(n["id"]) for n in self._neutron.networks.of(SERVICE_NETWORK)), "")
        return network_id == self._id

    def management(self) -> Json:
        """The network that workers reach instances in: the administrator's, if there is one."""
        return self._given(self._admin_id) if self._admin_id else self.provide()

    def is_given(self, network_id: str) -> bool:
        """Whether it is an administrator's network that is used as service or admin network."""
        return network_id in (self._name, self._admin_id)

    def cidrs(self, subnets: list[Json]) -> list[str]:
        """All ranges that a worker may have an address in, given Atoll's current subnets."""
        whole = parsed(self._cidr)
        older = {subnet["cidr"] for subnet in subnets if not whole.overlaps(parsed(subnet["cidr"]))}
        return [self._cidr, *sorted(older)]

    def own_subnet_id(self, subnets: list[Json]) -> str:
        """The subnet for ports that ask for none. If it is empty, Neutron may choose."""
        came = (s["id"] for s in subnets if self._neutron.owner_of(s) == OF_NETWORK)
        return next(came, "")

    def _given(self, network_id: str) -> Json:
        network = self._neutron.networks.get(network_id)
        if network is None:
            raise CloudNotFound(
                f"There is no network {network_id}.",
                hint="Set service_network_name, or admin_network_id, to the id of a network that "
                "Atoll's project sees.",
            )
        return network

    def _own(self) -> Json:
        networks = self._neutron.networks
        network = networks.provide(
            SERVICE_NETWORK, lambda network: bool(network["subnets"]), name=self._name
        )
        if network["subnets"]:
            return network
        self._subnets.provide(OF_NETWORK, network["id"], self._free_block(), gateway=False)
        return networks.get(network["id"]) or network

    def _free_block(self) -> Block:
        taken = [
            subnet["cidr"]
            for subnet in self._neutron.subnets.find(project_id=self._neutron.project_id)
            if (subnet["description"] or "").startswith("atoll:")
        ]
        return free_range(self._cidr, own_prefix(parsed(self._cidr)), taken)


def own_prefix(whole: Block) -> int:
    """Prefix length of the service network's own subnet."""
    if whole.version == 6:
        return max(whole.prefixlen, 64)
    sixteenth, usual = whole.prefixlen + 4, max(whole.prefixlen + 1, 24)
    return min(sixteenth, usual, 29)
