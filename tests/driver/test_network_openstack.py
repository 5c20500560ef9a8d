"""The layouts on a real Neutron: no instance is booted, all that it would hang on is made."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from atoll.config import Driver as Options
from atoll.driver.network import BaseNetworkhelper, InstancePorts
from atoll.driver.service_instance import ServiceInstanceManager
from atoll.driver.storage import MemoryStorage
from atoll.guest.pool import GuestPool

if TYPE_CHECKING:
    from atoll.cloud.openstack import OpenStackCloud
    from tests.cloud.openstack_place import UsersNetwork

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(600)]

SetUp = tuple[InstancePorts, dict[str, str]]

USERS, ADMINS, SERVICE = "10.96.17.0/24", "10.96.19.0/24", "10.240.0.0/16"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStackCloud]:
    from tests.cloud.openstack_place import make_openstack

    made = make_openstack(
        tmp_path_factory.mktemp("cloud"), "layouts", service_network_interface="none"
    )
    yield made
    left = made.networks.list_subnets(), made.networks.list_ports()
    made.networks.purge()
    made.close()
    assert left == ([], [])


@pytest.fixture(scope="module")
def users(cloud: OpenStackCloud) -> Iterator[UsersNetwork]:
    from tests.cloud.openstack_place import users_network

    with users_network(cloud.networks.neutron.api, USERS, gateway=True, router=True) as made:
        yield made


@pytest.fixture(scope="module")
def admins(cloud: OpenStackCloud) -> Iterator[UsersNetwork]:
    from tests.cloud.openstack_place import users_network

    with users_network(cloud.networks.neutron.api, ADMINS, gateway=True, router=False) as made:
        yield made


def helper(cloud: OpenStackCloud, storage: MemoryStorage, **options: Any) -> BaseNetworkhelper:
    """A worker's, with what the deployment remembers."""
    wish = Options(service_network_cidr=SERVICE, **options)
    manager = ServiceInstanceManager(wish, cloud=cloud, storage=storage, pool=GuestPool())
    return manager.network_helper


def set_up(made: BaseNetworkhelper, users: UsersNetwork, server_id: str) -> SetUp:
    """All that is set up in networks for an instance, before it boots and meanwhile."""
    info = {
        "server_id": server_id,
        "neutron_net_id": users.network_id,
        "neutron_subnet_id": users.subnet_id,
    }
    ports = made.setup_network(info)
    made.let_clients_in(server_id)
    return ports, made.details(server_id)


@pytest.mark.parametrize("by_admin_network", [False, True])
@pytest.mark.parametrize("direct", [True, False])
def test_a_layout_is_made_twice_the_same_and_taken_away(
    cloud: OpenStackCloud,
    users: UsersNetwork,
    admins: UsersNetwork,
    direct: bool,
    by_admin_network: bool,
) -> None:
    options: dict[str, Any] = {"connect_share_server_to_tenant_network": direct}
    if by_admin_network:
        options |= {"admin_network_id": admins.network_id, "admin_subnet_id": admins.subnet_id}
    made = helper(cloud, MemoryStorage(), **options)
    made.setup_connectivity_with_service_instances()
    ports, details = set_up(made, users, "s1")
    assert set_up(made, users, "s1") == (ports, details)
    assert _is_in(ports.management.addresses[0], ADMINS if by_admin_network else SERVICE)
    assert _is_in(ports.public_addresses[0], USERS if direct else SERVICE)
    assert len(ports.ids) == (1 if not direct and not by_admin_network else 2)
    routers = [subnet.router_id for subnet in cloud.networks.list_subnets()]
    assert routers == ([] if direct else [users.router_id])
    assert details.get("router_id") == (None if direct else users.router_id)
    made.shut_clients_out("s1")
    assert [subnet.router_id for subnet in cloud.networks.list_subnets()] == [None] * len(routers)
    made.let_clients_in("s1")
    assert [subnet.router_id for subnet in cloud.networks.list_subnets()] == routers
    made.teardown_network({"server_id": "s1"})
    made.teardown_network({"server_id": "s1"})
    assert (cloud.networks.list_subnets(), cloud.networks.list_ports()) == ([], [])


def test_workers_that_cut_at_once_get_different_subnets(
    cloud: OpenStackCloud, users: UsersNetwork
) -> None:
    storage, servers = MemoryStorage(), [f"s{number}" for number in range(4)]

    def worker() -> BaseNetworkhelper:
        return helper(cloud, storage, connect_share_server_to_tenant_network=False)

    with ThreadPoolExecutor(len(servers)) as pool:
        list(pool.map(lambda each: set_up(worker(), users, each), servers))
    subnets = cloud.networks.list_subnets()
    assert len({subnet.cidr for subnet in subnets}) == len(servers)
    assert {subnet.router_id for subnet in subnets} == {users.router_id}
    with ThreadPoolExecutor(len(servers)) as pool:
        list(pool.map(lambda each: worker().teardown_network({"server_id": each}), servers))


def _is_in(address: str, cidr: str) -> bool:
    return ip_address(address) in ip_network(cidr)
