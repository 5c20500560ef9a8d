"""What every cloud's networks, ports and images do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from atoll.cloud.base import Cloud, Network, Port
from atoll.errors import CloudError, CloudNotFound, OutOfCapacity

from .conftest import make
from .site import owner


@pytest.fixture
def network(cloud: Cloud) -> Iterator[Network]:
    made = cloud.networks.create_network(owner("share_network"))
    yield made
    cloud.networks.delete_network(made.id)


def test_the_same_owner_gets_the_same_network(cloud: Cloud, network: Network) -> None:
    assert cloud.networks.create_network(network.owner) == network
    assert cloud.networks.get_network(network.id) == network


def test_networks_have_ranges_of_their_own(cloud: Cloud, network: Network) -> None:
    second = cloud.networks.create_network(owner("share_network"))
    service = cloud.networks.service_network()
    ranges = [ip_network(n.subnets[0].cidr) for n in (network, second, service)]
    assert not any(a.overlaps(b) for a in ranges for b in ranges if a is not b)
    cloud.networks.delete_network(second.id)
    assert cloud.networks.get_network(second.id) is None


def test_the_caller_may_choose_the_range(cloud: Cloud) -> None:
    made = cloud.networks.create_network(owner("share_network"), "10.88.77.0/28")
    port = cloud.networks.create_port(owner("share_server"), made.id)
    assert made.subnets[0].cidr == "10.88.77.0/28"
    assert ip_address(port.addresses[0]) in ip_network("10.88.77.0/28")
    cloud.networks.delete_port(port.id)
    cloud.networks.delete_network(made.id)


@pytest.mark.parametrize("cidr", ["10.0.0.300/24", "10.0.0.1/24", "$(x)"])
def test_a_malformed_range_is_refused(cloud: Cloud, cidr: str) -> None:
    before = len(cloud.networks.list_networks())
    with pytest.raises(CloudError):
        cloud.networks.create_network(owner("share_network"), cidr)
    assert len(cloud.networks.list_networks()) == before


def test_a_network_is_known_by_its_subnet_too(cloud: Cloud, network: Network) -> None:
    subnet = network.subnets[0]
    assert subnet.network_id == network.id
    assert cloud.networks.get_network(network.id, subnet.id) == network
    assert cloud.networks.get_network(network.id, "absent") is None
    assert cloud.networks.get_network("absent") is None


def test_the_service_network_is_one(cloud: Cloud) -> None:
    service = cloud.networks.service_network()
    assert cloud.networks.service_network() == service
    assert service in cloud.networks.list_networks()


def test_an_owner_has_one_port_in_each_network(cloud: Cloud, network: Network) -> None:
    who = owner("share_server")
    service = cloud.networks.service_network()
    share_port = cloud.networks.create_port(who, network.id, network.subnets[0].id)
    service_port = cloud.networks.create_port(who, service.id)
    assert share_port.id != service_port.id
    assert cloud.networks.create_port(who, network.id) == share_port
    assert cloud.networks.get_port(share_port.id) == share_port
    for port, where in ((share_port, network), (service_port, service)):
        assert ip_address(port.addresses[0]) in ip_network(where.subnets[0].cidr)
        assert port.addresses[0] != where.subnets[0].gateway
        cloud.networks.delete_port(port.id)
    assert cloud.networks.get_port(share_port.id) is None


def test_ports_have_addresses_of_their_own(cloud: Cloud, network: Network) -> None:
    with ThreadPoolExecutor(8) as pool:
        ports = list(
            pool.map(
                lambda _: cloud.networks.create_port(owner("share_server"), network.id), range(20)
            )
        )
    assert len({port.addresses for port in ports}) == 20
    assert len({port.mac for port in ports}) == 20
    for port in ports:
        cloud.networks.delete_port(port.id)


def test_a_network_that_is_full_says_so(cloud: Cloud) -> None:
    small = cloud.networks.create_network(owner("share_network"), "10.88.78.0/29")
    makers = (cloud.networks.create_port(owner("share_server"), small.id) for _ in range(8))
    with pytest.raises(OutOfCapacity):
        list(makers)
    for port in cloud.networks.list_ports():
        if port.network_id == small.id:
            cloud.networks.delete_port(port.id)
    cloud.networks.delete_network(small.id)


def test_a_port_needs_a_network(cloud: Cloud, network: Network) -> None:
    with pytest.raises(CloudNotFound):
        cloud.networks.create_port(owner("share_server"), "absent")
    with pytest.raises(CloudNotFound):
        cloud.networks.create_port(owner("share_server"), network.id, "absent")


def test_absent_things_may_be_deleted(cloud: Cloud) -> None:
    cloud.networks.delete_port("absent")
    cloud.networks.delete_network("absent")
    assert cloud.networks.get_port("absent") is None


def test_another_deployment_s_things_are_seen_but_left_alone(
    cloud: Cloud, other: Cloud, network: Network
) -> None:
    port = cloud.networks.create_port(owner("share_server"), network.id)
    assert network.id not in [n.id for n in other.networks.list_networks()]
    assert other.networks.list_ports() == []
    assert port in cloud.networks.list_ports()
    assert other.networks.get_network(network.id) is not None
    assert not other.networks.may_use(network.id, "")
    cloud.networks.delete_port(port.id)
    other.networks.delete_network(network.id)
    assert cloud.networks.get_network(network.id) == network


def test_workers_that_begin_at_once_make_one(kind: str, place: Path) -> None:
    """Each has a cloud object of its own, as if it were another process."""
    workers = [make(kind, place, "workers") for _ in range(4)]
    who = owner("share_server")

    def begin(worker: Cloud) -> tuple[Network, Network, Port]:
        service = worker.networks.service_network()
        network = worker.networks.create_network(who)
        return service, network, worker.networks.create_port(who, network.id)

    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            made = set(pool.map(begin, workers))
        assert len(made) == 1
        networks = workers[0].networks
        assert {network.id for network in networks.list_networks()} == {
            network.id for network in next(iter(made))[:2]
        }
        assert [port.owner for port in networks.list_ports()] == [who]
    finally:
        workers[0].purge()
        for worker in workers:
            worker.close()


def test_there_is_an_image(cloud: Cloud) -> None:
    image = cloud.images.service_image()
    assert image.id
    assert image.checksum
    assert cloud.images.service_image() == image


def test_doctor_has_something_to_say(cloud: Cloud) -> None:
    findings = cloud.check()
    assert findings
    assert all(finding.ok or finding.todo for finding in findings)
