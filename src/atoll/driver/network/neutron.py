"""The contract's two layouts, on the ``Networks`` port of any cloud.

* *Direct* (``connect_share_server_to_tenant_network``): the instance has two interfaces, one for
  Atoll in the service network and one in the user's own subnet, where clients mount from. No router
  is needed.
* *Routed*: one interface, in a service subnet of its own that is plugged into the router which is
  the gateway of the user's subnet. Clients mount from the service port's address.

In both, ``admin_network_id`` puts Atoll's interface into that network instead. A share server keeps
the layout that it was made with, even if the options are changed later.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass

from atoll.cloud.base import Network, Networks, Port, Subnet
from atoll.driver.network import cuts
from atoll.driver.network.base import BaseNetworkhelper, InstancePorts
from atoll.driver.resources import NetworkInfo, ServerDetails
from atoll.errors import CloudError, CloudNotFound, OutOfCapacity, ServiceInstanceException
from atoll.model.keys import server_key
from atoll.ranges import Block

SERVICE_PORT = "service_port_id"
PUBLIC_PORT = "public_port_id"
ADMIN_PORT = "admin_port_id"
SERVICE_SUBNET = "subnet_id"
ROUTER = "router_id"
NETWORK = "neutron_net_id"
SUBNET = "neutron_subnet_id"
DETAILS = (SERVICE_PORT, PUBLIC_PORT, ADMIN_PORT, SERVICE_SUBNET, ROUTER)

LAYOUT = "layout"
MANAGEMENT = "management"


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout that a share server was made with."""

    routed: bool
    by_admin_network: bool


class NeutronNetworkHelper(BaseNetworkhelper):
    """Subnets, ports and router interfaces, each found by its owner before it is made."""

    # --- the contract -----------------------------------------------------------------------

    @property
    def NAME(self) -> str:  # noqa: N802 -- the contract's spelling
        """Code name of the network helper."""
        return "neutron"

    @property
    def neutron_api(self) -> Networks:
        """The port of the cloud's networks, which is Neutron in an OpenStack cloud."""
        return self._manager.cloud.networks

    @property
    def admin_project_id(self) -> str:
        """The project of service networks and ports. It is empty in a cloud without projects."""
        return self._manager.cloud.project_id

    @property
    def service_network_id(self) -> str:
        """Id of the service network, which is made if it is missing."""
        return self.neutron_api.service_network().id

    def get_network_name(self, network_info: NetworkInfo) -> str:
        """Name of the user's network. Raises ``ServiceInstanceException`` if it is gone."""
        network = self._users_network(network_info[NETWORK], "")
        return network.name or network.id

    def setup_connectivity_with_service_instances(self) -> None:
        """Make the network if it is missing.

        The cloud connects this host to its service network.
        """
        if self._by_admin_network and not self._routed:
            self._admin_network()
        else:
            self.neutron_api.service_network()

    def setup_network(self, network_info: NetworkInfo) -> InstancePorts:
        """Make subnet and ports, or find them. The id of each is stored.

        ``let_clients_in`` makes the router's interface, because that takes Neutron longer than
        everything else and can be done while the instance boots. Whether there is a router is
        checked here.
        """
        owner = server_key(network_info["server_id"])
        layout = self._layout(owner)
        if network_info.get(NETWORK):
            self._note_users_network(owner, network_info, layout)
        admin = self._admin_port(owner) if layout.by_admin_network else None
        if layout.routed:
            service = self._service_port(owner, layout)
            return InstancePorts(admin or service, service)
        with ThreadPoolExecutor(1, "public-port") as pool:  # saves users half a second
            public = pool.submit(copy_context().run, self._public_port, owner)
            management = admin or self._service_port(owner, layout)
        return InstancePorts(management, public.result())

    def teardown_network(self, server_details: ServerDetails) -> None:
        """Remove everything that the share server's key owns, also what was never recorded."""
        owner = server_key(server_details["server_id"])
        networks, check = self.neutron_api, self._manager.storage.check_current
        subnets = [subnet for subnet in networks.list_subnets() if subnet.owner == owner]
        for subnet in subnets:
            check()
            networks.disconnect_router(subnet.router_id or "", subnet.id)
        for port in networks.list_ports():
            if port.owner == owner:
                check()
                networks.delete_port(port.id)
        for subnet in subnets:
            check()
            networks.delete_subnet(subnet.id)

    # --- beyond the contract ----------------------------------------------------------------

    def check_for_setup_error(self) -> None:
        """Raise ``ConfigurationError`` if the options leave no room for service subnets."""
        self._pool()

    def shut_clients_out(self, server_id: str) -> None:
        """Unplug the service subnet from the user's router.

        (A direct server has a port for clients.)
        """
        owner = server_key(server_id)
        router, subnet = (self._manager.storage.get(owner, key) for key in (ROUTER, SERVICE_SUBNET))
        if router and subnet:
            self._manager.storage.check_current()
            self.neutron_api.disconnect_router(router, subnet)

    def let_clients_in(self, server_id: str) -> None:
        """Plug the service subnet into the router that is the gateway of the user's subnet."""
        owner = server_key(server_id)
        storage = self._manager.storage
        users = storage.get(owner, SUBNET)
        if not users or not self._layout(owner).routed:
            return
        subnet = storage.get(owner, SERVICE_SUBNET) or ""
        with _users_mistakes(users):
            router = self.neutron_api.connect_router(subnet, users)
        storage.update(owner, {ROUTER: router})

    def details(self, server_id: str) -> dict[str, str]:
        """Ids of ports, and of the service subnet and its router."""
        owner = server_key(server_id)
        known = {key: self._manager.storage.get(owner, key) for key in DETAILS}
        return {key: value for key, value in known.items() if value}

    # --- the user's network -----------------------------------------------------------------

    def _users_network(self, network_id: str, subnet_id: str) -> Network:
        network = self.neutron_api.get_network(network_id, subnet_id)
        if network is None:
            raise _no_network(network_id, subnet_id)
        return network

    def _note_users_network(self, owner: str, network_info: NetworkInfo, layout: Layout) -> None:
        network_id, subnet_id = network_info[NETWORK], network_info.get(SUBNET) or ""
        if layout.routed:
            subnets = self._users_network(network_id, subnet_id).subnets
            if not subnets:
                raise ServiceInstanceException(public=f"The network {network_id} has no subnet.")
            subnet_id = subnet_id or subnets[0].id
            with _users_mistakes(subnet_id):
                self.neutron_api.gateway_router(subnet_id)
        self._manager.storage.update(owner, {NETWORK: network_id, SUBNET: subnet_id})

    # --- ports ------------------------------------------------------------------------------

    def _service_port(self, owner: str, layout: Layout) -> Port:
        port = self._port(owner, SERVICE_PORT)
        if port is None:
            network = self.neutron_api.service_network()
            subnet_id = self._service_subnet(owner, network).id if layout.routed else ""
            port = self._create_port(owner, SERVICE_PORT, network.id, subnet_id)
        return port

    def _service_subnet(self, owner: str, network: Network) -> Subnet:
        mask = self._manager.options.service_network_division_mask
        subnet = cuts.provide(self.neutron_api, network, owner, self._pool(), mask)
        self._manager.storage.update(owner, {SERVICE_SUBNET: subnet.id})
        return subnet

    def _pool(self) -> Block:
        options = self._manager.options
        return cuts.pool(options.service_network_cidr, options.service_network_division_mask)

    def _admin_port(self, owner: str) -> Port:
        options = self._manager.options
        return self._port(owner, ADMIN_PORT) or self._create_port(
            owner, ADMIN_PORT, self._admin_network().id, options.admin_subnet_id
        )

    def _admin_network(self) -> Network:
        options = self._manager.options
        network = self.neutron_api.get_network(options.admin_network_id, options.admin_subnet_id)
        if network is None:
            raise CloudNotFound(
                f"The network {options.admin_network_id} or its subnet {options.admin_subnet_id}"
                " does not exist.",
                hint="The administrator's options admin_network_id and admin_subnet_id are wrong.",
            )
        return network

    def _public_port(self, owner: str) -> Port | None:
        port = self._port(owner, PUBLIC_PORT)
        network_id = self._manager.storage.get(owner, NETWORK)
        if port is None and network_id:
            subnet_id = self._manager.storage.get(owner, SUBNET) or ""
            try:
                port = self._create_port(owner, PUBLIC_PORT, network_id, subnet_id)
            except CloudNotFound as error:
                raise _no_network(network_id, subnet_id) from error
        return port

    def _create_port(self, owner: str, key: str, network_id: str, subnet_id: str) -> Port:
        port = self.neutron_api.create_port(owner, network_id, subnet_id)
        self._manager.storage.update(owner, {key: port.id})
        return port

    def _port(self, owner: str, key: str) -> Port | None:
        port_id = self._manager.storage.get(owner, key)
        return self.neutron_api.get_port(port_id) if port_id else None

    # --- what is remembered -----------------------------------------------------------------

    @property
    def _routed(self) -> bool:
        return not self._manager.options.connect_share_server_to_tenant_network

    @property
    def _by_admin_network(self) -> bool:
        return bool(self._manager.options.admin_network_id)

    def _layout(self, owner: str) -> Layout:
        """The layout that the share server was made with. A new one gets that of the options."""
        storage = self._manager.storage
        layout, management = storage.get(owner, LAYOUT), storage.get(owner, MANAGEMENT)
        if layout is None or management is None:
            layout = "routed" if self._routed else "direct"
            management = "admin" if self._by_admin_network else "service"
            storage.update(owner, {LAYOUT: layout, MANAGEMENT: management})
        return Layout(layout == "routed", management == "admin")


def _no_network(network_id: str, subnet_id: str) -> ServiceInstanceException:
    return ServiceInstanceException(
        public=f"The network {network_id} or its subnet {subnet_id} does not exist. "
        "Make a share network on a network that exists.",
    )


@contextmanager
def _users_mistakes(subnet_id: str) -> Iterator[None]:
    """Turn an error about a user's subnet or router into a message for that user."""
    try:
        yield
    except CloudError as error:
        if error.retryable or isinstance(error, OutOfCapacity):
            raise
        raise ServiceInstanceException(
            f"The share server can't be connected to the router of subnet {subnet_id}:"
            f" {error.message}",
            hint=error.hint or "Plug the subnet into a router, at its gateway's address.",
            public=f"The share server can't be connected to the router of subnet {subnet_id}. "
            "Give the subnet a gateway, and plug it into a router at its gateway's address.",
        ) from error
