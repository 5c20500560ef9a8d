"""This machine in the service network of a real OpenStack, and packets that find their way."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from atoll.cloud.openstack import OpenStackCloud
from atoll.cloud.openstack.api import REQUESTS
from atoll.cloud.openstack.host_devices import (
    is_on_link,
)
from atoll.cloud.openstack.host_port import HostPort
from atoll.cloud.openstack.subnets import HOST
from atoll.errors import CloudError

from .instance_double import hears, instance_double
from .openstack_packets import dhcp_server, falls_silent, is_answered
from .openstack_place import make_openstack, openstack_settings, users_network
from .site import owner

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(600)]


def test_this_host_gets_into_the_service_network(real: OpenStackCloud, tmp_path: Path) -> None:
    networks = real.networks
    service = networks.service_network()
    host = HostPort(networks, openstack_settings(tmp_path))

    beside = str(ip_network(service.subnets[0].cidr)[5])

    def requests() -> float:
        return float(REQUESTS.labels("network", "GET")._value.get())

    def ports() -> list[str]:
        """The workers' own, which are no share server's."""
        assert networks.list_ports() == []
        found = networks.neutron.ports.ours(network_id=service.id)
        return [port["id"] for port in found if port["device_owner"] == HOST]

    try:
        host.ensure()
        (port,) = ports()
        host.ensure()
        assert ports() == [port]
        asked = requests()
        HostPort(networks, openstack_settings(tmp_path)).reach(beside)  # a worker that starts
        assert requests() == asked
        assert is_answered(dhcp_server(real, service.subnets[0].id))

        extra = networks.create_subnet(
            owner("share_server"), service.id, "10.241.202.0/28", gateway=True
        )
        inside = str(ip_network(extra.cidr)[5])
        assert not is_on_link(inside)
        host.reach(inside)
        assert is_on_link(inside)
        assert is_answered(dhcp_server(real, extra.id))
        networks.delete_subnet(extra.id)
        host.ensure()
        assert not is_on_link(inside)

        networks.delete_port(port)  # by an administrator's mistake, say
        host.ensure()
        assert is_answered(dhcp_server(real, service.subnets[0].id))
    finally:
        host.remove()
        host.remove()
    assert ports() == []
    assert not is_on_link(beside)


def test_this_host_gets_into_more_subnets_than_a_port_can_be_in(
    real: OpenStackCloud, tmp_path: Path
) -> None:
    """Neutron gives a port five addresses at most, by default."""
    networks = real.networks
    service = networks.service_network()
    host = HostPort(networks, openstack_settings(tmp_path))
    made = []
    try:
        for number in range(7):
            cidr = f"10.241.210.{16 * number}/28"
            subnet = networks.create_subnet(owner("share_server"), service.id, cidr, gateway=True)
            made.append(subnet)
            host.reach(str(ip_network(cidr)[5]))
        assert all(is_answered(dhcp_server(real, subnet.id)) for subnet in made)
        restarted = HostPort(networks, openstack_settings(tmp_path))
        restarted.ensure()
        assert all(is_answered(dhcp_server(real, subnet.id)) for subnet in made)
    finally:
        for subnet in made:
            networks.delete_subnet(subnet.id)
        host.remove()
    assert not any(is_on_link(str(ip_network(subnet.cidr)[5])) for subnet in made)


def test_ranges_that_overlap_are_told_of(real: OpenStackCloud, tmp_path: Path) -> None:
    """Two networks with the same addresses: packets would go into one of them only."""
    cidr = "10.241.203.0/28"
    others = make_openstack(tmp_path / "others", "overlapping")
    host = HostPort(real.networks, openstack_settings(tmp_path))
    second = HostPort(others.networks, openstack_settings(tmp_path / "others"))
    subnets = {
        cloud: cloud.networks.create_subnet(
            owner("share_server"), cloud.networks.service_network().id, cidr, gateway=True
        )
        for cloud in (real, others)
    }
    try:
        host.ensure()
        assert is_answered(dhcp_server(real, subnets[real].id))
        with pytest.raises(CloudError, match=rf"in {cidr} already"):
            second.reach(str(ip_network(cidr)[5]))
        assert is_answered(dhcp_server(real, subnets[real].id))
    finally:
        host.remove()
        others.purge()
        others.close()
        real.networks.delete_subnet(subnets[real].id)


def test_a_host_without_an_agent_is_told_so(real: OpenStackCloud, tmp_path: Path) -> None:
    host = HostPort(real.networks, openstack_settings(tmp_path, service_network_host="nowhere"))
    with pytest.raises(CloudError, match="no working agent on the host 'nowhere'"):
        host.ensure()
    host.remove()


def test_packets_find_their_way_and_no_other(real: OpenStackCloud, tmp_path: Path) -> None:
    """A client behind the user's router reaches shares, and Atoll ssh; neither the other's."""
    networks = real.networks
    service = networks.service_network()
    host = HostPort(networks, openstack_settings(tmp_path))
    subnet = networks.create_subnet(
        owner("share_server"), service.id, "10.240.128.0/28", gateway=True
    )
    assert subnet.gateway is not None
    with users_network(networks.neutron.api, "10.97.6.0/24", gateway=True, router=True) as users:
        dhcp_server(real, users.subnet_id)
        port = networks.create_port(owner("share_server"), service.id, subnet.id)
        networks.connect_router(subnet.id, users.subnet_id)
        address = port.addresses[0]
        host.reach(address)
        with instance_double(real, port, subnet.gateway, 22, 2049):
            assert hears(users.network_id, address, 2049, 60)
            assert not hears(users.network_id, address, 22, 5)
            assert is_answered(address, 22)
            assert not is_answered(address, 2049, 5)
            networks.disconnect_router(users.router_id, subnet.id)
            assert falls_silent(users.network_id, address, 2049)
        networks.delete_port(port.id)
        networks.delete_subnet(subnet.id)
    host.remove()
