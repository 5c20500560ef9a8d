"""Subnets of our own and a user's routers in the simulated cloud, and who reaches whom by them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atoll.cloud.base import Access, Identity, InstanceSpec, Network, OwnedSubnet
from atoll.cloud.memory import MemoryCloud
from atoll.errors import CloudError, CloudNotFound

from .site import nfs

OWNER = "share_server/1"


@pytest.fixture
def users(memory: MemoryCloud) -> Network:
    return memory.networks.create_network("user", "10.9.0.0/24")


def test_an_owner_has_one_subnet_in_a_network(memory: MemoryCloud) -> None:
    service = memory.networks.service_network()
    made = memory.networks.create_subnet(OWNER, service.id, "10.254.0.0/28", gateway=True)
    again = memory.networks.create_subnet(OWNER, service.id, "10.254.0.16/28", gateway=True)
    assert again == made
    assert made.gateway == "10.254.0.1"
    assert memory.networks.list_subnets() == [
        OwnedSubnet(made.id, OWNER, service.id, "10.254.0.0/28")
    ]
    seen = memory.networks.get_network(service.id, made.id)
    assert seen is not None
    assert seen.subnets == (*service.subnets, made)
    memory.networks.delete_subnet(made.id)
    memory.networks.delete_subnet(made.id)
    assert memory.networks.service_network() == service


def test_a_range_is_given_out_once(tmp_path: Path) -> None:
    clouds = [MemoryCloud("test", path=tmp_path / "world.sqlite") for _ in range(4)]
    service = clouds[0].networks.service_network()

    def make(number: int) -> str:
        networks = clouds[number].networks
        try:
            networks.create_subnet(f"x/{number}", service.id, "10.254.0.0/28", gateway=False)
        except CloudError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(make, range(4)))
    assert answers.count("") == 1
    assert sum("overlaps" in answer for answer in answers) == 3
    for cloud in clouds:
        cloud.close()


def test_ports_are_in_the_subnet_that_was_asked_for(memory: MemoryCloud) -> None:
    service = memory.networks.service_network()
    made = memory.networks.create_subnet(OWNER, service.id, "10.254.0.0/29", gateway=True)
    port = memory.networks.create_port(OWNER, service.id, made.id)
    other = memory.networks.create_port(OWNER, service.id)
    assert port.addresses[0].startswith("10.254.0.")
    assert other.addresses[0].startswith("100.64.")
    assert memory.networks.create_port(OWNER, service.id, made.id) == port
    with pytest.raises(CloudError, match="ports"):
        memory.networks.delete_subnet(made.id)


def test_a_subnet_that_came_with_its_network_stays(memory: MemoryCloud, users: Network) -> None:
    memory.networks.delete_subnet(users.subnets[0].id)
    assert memory.networks.get_network(users.id) == users


def test_a_router_leads_from_one_subnet_to_the_other(memory: MemoryCloud, users: Network) -> None:
    service = memory.networks.service_network()
    subnet = memory.networks.create_subnet(OWNER, service.id, "10.254.0.0/28", gateway=True)
    port = memory.networks.create_port(OWNER, service.id, subnet.id)
    identity = Identity("atoll", "", "", "key", "one")
    spec = InstanceSpec(OWNER, "one", "image", (port.id,), identity)
    instance = memory.compute.create_instance(spec)
    volume = memory.volumes.create_volume("share/1", 1)
    memory.compute.attach_volume(instance.id, volume.id)
    guest = memory.open_guest(instance.id, Access("atoll", port.addresses[0], "", "key"), 1)
    guest.start_nfs(with_state=False)
    guest.apply_share(nfs("1", volume, "0.0.0.0/0"), fence=1)
    location = f"{port.addresses[0]}:/shares/1"
    with pytest.raises(TimeoutError):
        memory.client("10.9.0.5").mount(location)

    with pytest.raises(CloudNotFound, match="no router"):
        memory.networks.connect_router(subnet.id, users.subnets[0].id)
    router = memory.add_router(users.subnets[0].id)
    assert memory.networks.connect_router(subnet.id, users.subnets[0].id) == router
    assert memory.networks.connect_router(subnet.id, users.subnets[0].id) == router
    assert memory.leaks()["router interfaces"] == [f"{subnet.id} {router}"]
    memory.client("10.9.0.5").mount(location)
    with pytest.raises(TimeoutError):
        memory.client("10.10.0.5").mount(location)

    memory.networks.disconnect_router(router, users.subnets[0].id)  # not ours: nothing happens
    memory.client("10.9.0.5").mount(location)
    memory.networks.disconnect_router(router, subnet.id)
    memory.networks.disconnect_router(router, subnet.id)
    with pytest.raises(TimeoutError):
        memory.client("10.9.0.5").mount(location)


def test_what_is_plugged_in_is_in_use(memory: MemoryCloud, users: Network) -> None:
    service = memory.networks.service_network()
    subnet = memory.networks.create_subnet(OWNER, service.id, "10.254.0.0/28", gateway=True)
    router = memory.add_router(users.subnets[0].id)
    memory.networks.connect_router(subnet.id, users.subnets[0].id)
    [listed] = memory.networks.list_subnets()
    assert listed.router_id == router
    with pytest.raises(CloudError, match="plugged"):
        memory.networks.delete_subnet(subnet.id)
    with pytest.raises(CloudError, match="plugged"):
        memory.networks.delete_network(users.id)
    memory.remove_router(router)
    memory.purge()
    assert memory.leaks() == {}
