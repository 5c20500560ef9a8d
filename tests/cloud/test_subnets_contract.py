"""What every cloud with routers does about subnets of Atoll's own. ``local`` has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from ipaddress import ip_address, ip_network
from itertools import count
from pathlib import Path

import pytest

from atoll.cloud.base import Cloud, Network, Subnet
from atoll.cloud.memory import MemoryCloud
from atoll.errors import CloudError

from .conftest import make
from .site import owner

_numbers = count(1)


@pytest.fixture
def service(cloud: Cloud, kind: str) -> Network:
    if kind == "local":
        pytest.skip("one machine has no routers")
    return cloud.networks.service_network()


@pytest.fixture
def subnet(cloud: Cloud, service: Network) -> Iterator[Subnet]:
    """One that a router can be given."""
    made = cloud.networks.create_subnet(owner("share_server"), service.id, free(), gateway=True)
    yield made
    for left in cloud.networks.list_subnets():
        if left.router_id is not None:
            cloud.networks.disconnect_router(left.router_id, left.id)
    cloud.networks.delete_subnet(made.id)


UsersSubnet = Callable[[bool], AbstractContextManager[tuple[str, str]]]
"""With a router or without; ids of the subnet and the router."""


@pytest.fixture
def users_subnet(cloud: Cloud, kind: str) -> UsersSubnet:
    @contextmanager
    def in_memory(router: bool) -> Iterator[tuple[str, str]]:
        assert isinstance(cloud, MemoryCloud)
        network = cloud.networks.create_network(owner("share_network"))
        subnet_id = network.subnets[0].id
        router_id = cloud.add_router(subnet_id) if router else ""
        yield subnet_id, router_id
        if router:
            cloud.remove_router(router_id)
        cloud.networks.delete_network(network.id)

    @contextmanager
    def in_openstack(router: bool) -> Iterator[tuple[str, str]]:
        from atoll.cloud.openstack import OpenStackCloud

        from .openstack_place import users_network

        assert isinstance(cloud, OpenStackCloud)
        api = cloud.networks.neutron.api
        with users_network(api, "10.97.0.0/24", gateway=True, router=router) as users:
            yield users.subnet_id, users.router_id

    return in_memory if kind == "memory" else in_openstack


def free() -> str:
    """A range that nothing else here uses."""
    return f"10.241.{next(_numbers)}.0/28"


def test_the_same_owner_gets_the_same_subnet(
    cloud: Cloud, service: Network, subnet: Subnet
) -> None:
    (listed,) = cloud.networks.list_subnets()
    again = cloud.networks.create_subnet(listed.owner, service.id, subnet.cidr, gateway=True)
    assert again == subnet
    assert (listed.id, listed.network_id, listed.cidr) == (subnet.id, service.id, subnet.cidr)
    assert listed.router_id is None


def test_it_becomes_part_of_its_network(cloud: Cloud, service: Network, subnet: Subnet) -> None:
    assert cloud.networks.get_network(service.id, subnet.id) is not None
    assert subnet in cloud.networks.service_network().subnets
    assert cloud.networks.service_network().subnets[0] == service.subnets[0]


def test_ports_may_be_in_it(cloud: Cloud, service: Network, subnet: Subnet) -> None:
    who = owner("share_server")
    inside = cloud.networks.create_port(who, service.id, subnet.id)
    beside = cloud.networks.create_port(who, service.id)
    assert ip_address(inside.addresses[0]) in ip_network(subnet.cidr)
    assert ip_address(beside.addresses[0]) in ip_network(service.subnets[0].cidr)
    assert cloud.networks.create_port(who, service.id, subnet.id) == inside
    with pytest.raises(CloudError):
        cloud.networks.delete_subnet(subnet.id)
    for port in (inside, beside):
        cloud.networks.delete_port(port.id)


def test_only_a_subnet_that_wants_a_gateway_has_one(
    cloud: Cloud, service: Network, subnet: Subnet
) -> None:
    isolated = cloud.networks.create_subnet(
        owner("share_server"), service.id, free(), gateway=False
    )
    assert subnet.gateway is not None
    assert isolated.gateway is None
    cloud.networks.delete_subnet(isolated.id)


def test_ranges_that_overlap_or_are_none_are_refused(
    cloud: Cloud, service: Network, subnet: Subnet
) -> None:
    for cidr in (subnet.cidr, "10.0.0.1/24", "$(x)"):
        with pytest.raises(CloudError):
            cloud.networks.create_subnet(owner("share_server"), service.id, cidr, gateway=True)
    assert [each.id for each in cloud.networks.list_subnets()] == [subnet.id]


def test_what_is_not_there_may_be_deleted(cloud: Cloud, service: Network) -> None:
    cloud.networks.delete_subnet("absent")
    cloud.networks.disconnect_router("absent", "absent")
    cloud.networks.delete_subnet(service.subnets[0].id)
    assert cloud.networks.service_network() == service


def test_a_subnet_is_connected_to_the_users_router(
    cloud: Cloud, subnet: Subnet, users_subnet: UsersSubnet
) -> None:
    with users_subnet(True) as (users, router):
        assert cloud.networks.gateway_router(users) == router
        assert cloud.networks.connect_router(subnet.id, users) == router
        assert cloud.networks.connect_router(subnet.id, users) == router
        assert [each.router_id for each in cloud.networks.list_subnets()] == [router]
        with pytest.raises(CloudError):
            cloud.networks.delete_subnet(subnet.id)
        cloud.networks.disconnect_router(router, subnet.id)
        cloud.networks.disconnect_router(router, subnet.id)
        assert [each.router_id for each in cloud.networks.list_subnets()] == [None]


def test_workers_that_begin_at_once_make_one(
    cloud: Cloud, kind: str, place: Path, service: Network, users_subnet: UsersSubnet
) -> None:
    """Each has a cloud object of its own, as if it were another process."""
    workers = [cloud, *(make(kind, place, "contract") for _ in range(3))]
    who, cidr = owner("share_server"), free()

    def begin(worker: Cloud) -> tuple[str, str, str]:
        made = worker.networks.create_subnet(who, service.id, cidr, gateway=True)
        port = worker.networks.create_port(who, service.id, made.id)
        return made.id, port.id, worker.networks.connect_router(made.id, users)

    def end(worker: Cloud) -> None:
        worker.networks.disconnect_router(router, subnet_id)

    with users_subnet(True) as (users, router), ThreadPoolExecutor(len(workers)) as pool:
        ((subnet_id, port_id, found),) = set(pool.map(begin, workers))
        assert found == router
        assert [port.id for port in cloud.networks.list_ports()] == [port_id]
        list(pool.map(end, workers))
        cloud.networks.delete_port(port_id)
        list(pool.map(lambda worker: worker.networks.delete_subnet(subnet_id), workers))
    assert cloud.networks.list_subnets() == []
    for worker in workers[1:]:
        worker.close()


def test_without_a_router_nothing_is_connected(
    cloud: Cloud, subnet: Subnet, users_subnet: UsersSubnet
) -> None:
    with users_subnet(False) as (users, _):
        with pytest.raises(CloudError, match="router"):
            cloud.networks.gateway_router(users)
        with pytest.raises(CloudError, match="router"):
            cloud.networks.connect_router(subnet.id, users)
    assert [each.router_id for each in cloud.networks.list_subnets()] == [None]


def test_what_others_plugged_in_stays(
    cloud: Cloud, other: Cloud, subnet: Subnet, users_subnet: UsersSubnet
) -> None:
    with users_subnet(True) as (users, router):
        cloud.networks.disconnect_router(router, users)
        cloud.networks.connect_router(subnet.id, users)
        other.networks.disconnect_router(router, subnet.id)
        other.networks.delete_subnet(subnet.id)
        assert other.networks.list_subnets() == []
        assert [each.router_id for each in cloud.networks.list_subnets()] == [router]
        cloud.networks.disconnect_router(router, subnet.id)
