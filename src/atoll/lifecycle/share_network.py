"""Describes the subnets of share networks, and makes the networks of managed ones.

A subnet that names a network of the cloud is looked up and described. A *managed* subnet, which was
requested without a network, gets its own network, isolated from all others.
"""

from __future__ import annotations

from atoll.cloud.base import Network
from atoll.cloud.base import Subnet as CloudSubnet
from atoll.db import owners, share_networks, share_servers, subnets
from atoll.db.messages import Action, Resource
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import CloudNotFound, Postponed
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.message import sentence, tell, telling_of_delay
from atoll.model.keys import server_key, subnet_key
from atoll.model.records import Subnet
from atoll.model.states import NetworkStatus, ServerStatus


class ShareNetworkHandler:
    """Handles share networks."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def converge(self, operation: Operation) -> None:
        """Describe or make the network of every subnet; remove what is being deleted."""
        with self._backend.database.read() as connection:
            network = share_networks.get(connection, operation.resource_id)
            if network is None:
                return
            known = subnets.of_network(connection, network["id"])
        leaving = share_networks.deleting(network)
        kind, action = Resource.SHARE_NETWORK_SUBNET, Action.DELETE if leaving else Action.CREATE
        with telling_of_delay(operation, lambda _: [network], kind, action):
            for subnet in known:
                if leaving or subnet["deleting"]:
                    self._remove_subnet(operation, subnet)
                elif subnet["cidr"] is None:
                    self._describe_subnet(operation, subnet, network["project_id"])
        with operation.transaction() as connection:
            if leaving:
                share_networks.remove(connection, network["id"])
            elif network["status"] == NetworkStatus.ERROR:
                share_networks.change(connection, network["id"], status=NetworkStatus.ACTIVE)

    def give_up(self, operation: Operation, error: Exception) -> None:
        """Tell the project why, and set the share network to error unless it is being deleted."""
        with operation.transaction() as connection:
            network = share_networks.lock(connection, operation.resource_id)
            if network is None:
                return
            kind, action = Resource.SHARE_NETWORK_SUBNET, Action.DELETE
            if not share_networks.deleting(network):  # a deletion is tried again by each pass
                share_networks.change(connection, network["id"], status=NetworkStatus.ERROR)
                action = Action.CREATE
            tell(connection, operation, network, kind, action, sentence(operation, error))

    def _describe_subnet(self, operation: Operation, subnet: Subnet, project_id: str) -> None:
        networks = self._backend.cloud.networks
        if subnet["managed"]:
            found: Network | None = networks.create_network(subnet_key(subnet["id"]))
        else:
            network_id = subnet["neutron_net_id"] or ""
            self._check_rights(network_id, project_id)
            found = networks.get_network(network_id, subnet["neutron_subnet_id"] or "")
        if found is None or not found.subnets:
            raise CloudNotFound(
                public=f"The network {subnet['neutron_net_id']} has no subnet "
                f"{subnet['neutron_subnet_id']}. Create the share network again with existing ids.",
            )
        with operation.transaction() as connection:
            subnets.change(
                connection,
                subnet["id"],
                **_description(found, _pick(found, subnet["neutron_subnet_id"])),
            )

    def _check_rights(self, network_id: str, project_id: str) -> None:
        """Raise ``CloudNotFound`` if the project may not use the network.

        Atoll itself has more rights than its users. With Keystone, the network must be accessible
        to the user's project; otherwise it must be accessible to Atoll's own project.
        """
        is_clouds = self._backend.settings.api.auth_strategy == "keystone"
        if not self._backend.cloud.networks.may_use(network_id, project_id if is_clouds else ""):
            raise CloudNotFound(
                f"The project {project_id} may not use the network {network_id}, or there is none.",
                public=f"The network {network_id} could not be found, or your project may not use "
                "it. Create the share network again, with a network of your own or one that is "
                "shared with your project.",
            )

    def _remove_subnet(self, operation: Operation, subnet: Subnet) -> None:
        """Remove the subnet's share servers, then its managed network, then its row."""
        with operation.transaction() as connection:
            servers = share_servers.where(connection, share_network_subnet_id=subnet["id"])
            for server in servers:
                share_servers.change(connection, server["id"], status=ServerStatus.DELETING)
                enqueue(connection, server_key(server["id"]), request_id=operation.request_id)
        if servers:
            raise Postponed(
                "The share network waits for the deletion of its share servers.",
                waits_for=server_key(servers[0]["id"]),
            )
        if subnet["managed"]:
            owner = subnet_key(subnet["id"])
            self._backend.remove_network(operation, owner, subnet["neutron_net_id"])
        with operation.transaction() as connection:
            owners.remove(connection, "share_network_subnet", subnet["id"])


def _pick(network: Network, subnet_id: str | None) -> CloudSubnet:
    for subnet in network.subnets:
        if subnet.id == subnet_id:
            return subnet
    return network.subnets[0]


def _description(network: Network, subnet: CloudSubnet) -> Subnet:
    return {
        "neutron_net_id": network.id,
        "neutron_subnet_id": subnet.id,
        "network_type": network.type,
        "segmentation_id": network.segmentation_id,
        "cidr": subnet.cidr,
        "ip_version": subnet.ip_version,
        "gateway": subnet.gateway,
        "mtu": network.mtu,
    }
