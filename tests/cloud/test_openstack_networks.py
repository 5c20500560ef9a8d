"""What Neutron gets from us: address ranges, rules, MACs, devices. And on a real one, all of it."""

from __future__ import annotations

import configparser
import os
import socket
import time
from collections.abc import Iterator
from importlib import resources
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from atoll.cloud.openstack import OpenStackCloud
from atoll.cloud.openstack.api import REQUESTS, Json
from atoll.cloud.openstack.host_devices import (
    InternalPort,
    VethPair,
    is_beside,
    overlaps,
    set_addresses,
)
from atoll.cloud.openstack.host_port import HostPort
from atoll.cloud.openstack.ports import mac_for
from atoll.cloud.openstack.security_groups import SHARE_PORTS, share_rules
from atoll.cloud.openstack.service_network import own_prefix
from atoll.cloud.openstack.subnets import HOST, first_free
from atoll.cloud.program import run
from atoll.errors import CloudError, CloudNotFound, OutOfCapacity

from .instance_stand_in import hears, stand_in
from .openstack_place import make_openstack, openstack_settings, users_network
from .site import owner

# --- without a cloud --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cidr", "prefix"),
    [("10.254.0.0/16", 20), ("10.254.0.0/20", 24), ("10.254.0.0/24", 25), ("fd00::/48", 64)],
)
def test_the_service_networks_own_subnet_leaves_room_for_others(cidr: str, prefix: int) -> None:
    assert own_prefix(ip_network(cidr)) == prefix


def test_the_first_free_range_overlaps_with_none() -> None:
    assert str(first_free("10.0.0.0/16", 20, [])) == "10.0.0.0/20"
    taken = ["10.0.0.16/28", "10.0.16.0/19", "fd00::/64", "192.168.0.0/16"]
    assert str(first_free("10.0.0.0/16", 20, taken[:1])) == "10.0.16.0/20"
    assert str(first_free("10.0.0.0/16", 20, ["10.0.0.0/17"])) == "10.0.128.0/20"
    with pytest.raises(OutOfCapacity):
        first_free("10.0.0.0/24", 28, ["10.0.0.0/8"])
    with pytest.raises(CloudError):
        first_free("nonsense", 28, [])


def test_clients_are_let_in_where_the_image_listens() -> None:
    text = resources.files("atoll.image").joinpath("files/rootfs/etc/nfs.conf").read_text()
    conf = configparser.ConfigParser()
    conf.read_string(text)
    listening = {int(conf[section]["port"]) for section in ("nfsd", "mountd", "statd", "lockd")}
    assert set(SHARE_PORTS["tcp"]) == listening | {111, 445}
    assert {rule.cidr for rule in share_rules("10.1.0.0/24")} == {"10.1.0.0/24"}
    assert all(rule.wish["ethertype"] == "IPv6" for rule in share_rules("fd00::/64"))


def test_a_mac_follows_from_whom_it_is_for() -> None:
    mac = mac_for("atoll:one share_server/1", "network")
    assert mac == mac_for("atoll:one share_server/1", "network")
    assert mac != mac_for("atoll:two share_server/1", "network")
    first = int(mac.split(":")[0], 16)
    assert first & 0b11 == 0b10  # unicast, locally administered
    assert len(mac) == 17


PORT: Json = {"id": "0123456789abcdef", "mac_address": "fa:00:00:00:00:01"}


def test_open_vswitch_is_told_the_ports_id_and_mac() -> None:
    argv = InternalPort("br-int").argv("tap01234567-89", PORT)
    assert argv[:4] == ["ovs-vsctl", "--may-exist", "add-port", "br-int"]
    assert 'external_ids:iface-id="0123456789abcdef"' in argv
    assert 'external_ids:attached-mac="fa:00:00:00:00:01"' in argv


def test_devices_are_plugged_in_as_often_as_one_likes() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    veth = VethPair()
    device = veth.plug(PORT, 1450)
    try:
        assert veth.plug(PORT, 1450) == device
        set_addresses(device, {"10.239.0.1/28", "fd00:239::1/64"})
        set_addresses(device, {"10.239.0.1/28", "10.239.1.1/28"})
        assert is_beside("10.239.1.2")
        assert not is_beside("10.239.2.2")
        assert not is_beside("fd00:239::2")
        assert is_beside("10.239.1.2", device)
        assert not is_beside("10.239.1.2", "another")
        assert overlaps(device, ["10.239.1.3/24"]) == {}
        assert overlaps("another", ["10.239.1.3/24"]) == {device: "10.239.1.0/28"}
        assert overlaps("another", ["10.239.2.3/24"]) == {}
        shown = run(["ip", "address", "show", "dev", device])
        assert "fa:00:00:00:00:01" in shown
        assert "mtu 1450" in shown
        veth.remove_others(PORT)
        assert is_beside("10.239.0.2")
        veth.remove_others(PORT | {"id": "fedcba9876543210"})  # the port was made anew
        assert not is_beside("10.239.0.2")
    finally:
        veth.unplug(PORT["id"])
        veth.unplug(PORT["id"])


# --- on a real one ----------------------------------------------------------------------------

openstack = [pytest.mark.openstack, pytest.mark.timeout(600)]


def on_openstack(test: Any) -> Any:
    """Needs an OpenStack, and some minutes at worst."""
    for mark in openstack:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStackCloud]:
    made = make_openstack(tmp_path_factory.mktemp("state"), "networks")
    yield made
    made.purge()
    left = made.networks.leftovers()
    made.close()
    assert left == []


def let_in(cloud: OpenStackCloud, port_id: str) -> set[tuple[str, int, str]]:
    """Protocol, port and range of all that reaches this port."""
    neutron = cloud.networks.neutron
    port = neutron.ports.get(port_id)
    assert port is not None
    groups = [neutron.security_groups.get(each) for each in port["security_groups"]]
    return {
        (rule["protocol"], rule["port_range_min"], rule["remote_ip_prefix"])
        for group in groups
        if group is not None
        for rule in group["security_group_rules"]
        if rule["direction"] == "ingress"
    }


def shares(*cidrs: str) -> set[tuple[str, int, str]]:
    return {(rule.protocol, rule.port, rule.cidr) for cidr in cidrs for rule in share_rules(cidr)}


@on_openstack
def test_only_clients_reach_shares_and_only_atoll_logs_in(real: OpenStackCloud) -> None:
    networks = real.networks
    with users_network(networks.neutron.api, "10.97.1.0/24", gateway=True, router=False) as users:
        who = owner("share_server")
        service_port = networks.create_port(who, networks.service_network().id)
        share_port = networks.create_port(who, users.network_id, users.subnet_id)
        assert let_in(real, service_port.id) == {("tcp", 22, "10.240.0.0/16")}
        assert let_in(real, share_port.id) == shares("10.97.1.0/24")
        networks.delete_port(share_port.id)
        networks.delete_port(service_port.id)
        assert not networks.neutron.security_groups.of("clients/10.97.1.0/24")


@on_openstack
def test_rules_are_put_right(real: OpenStackCloud, tmp_path: Path) -> None:
    neutron = real.networks.neutron
    network = real.networks.create_network(owner("share_network"))
    cidr = network.subnets[0].cidr
    first = real.networks.create_port(owner("share_server"), network.id)
    (group,) = neutron.security_groups.of(f"clients/{cidr}")
    ingress = [r for r in group["security_group_rules"] if r["direction"] == "ingress"]
    neutron.api.delete(f"/security-group-rules/{ingress[0]['id']}")
    rule = {"direction": "ingress", "ethertype": "IPv4", "security_group_id": group["id"]}
    neutron.api.post("/security-group-rules", {"security_group_rule": rule})
    assert let_in(real, first.id) != shares(cidr)

    restarted = make_openstack(tmp_path, "networks")
    second = restarted.networks.create_port(owner("share_server"), network.id)
    assert let_in(real, first.id) == let_in(real, second.id) == shares(cidr)
    for port in (first, second):
        restarted.networks.delete_port(port.id)
    restarted.networks.delete_network(network.id)
    restarted.close()


@on_openstack
def test_a_group_that_was_removed_is_made_anew(real: OpenStackCloud) -> None:
    neutron = real.networks.neutron
    network = real.networks.create_network(owner("share_network"))
    cidr = network.subnets[0].cidr
    first = real.networks.create_port(owner("share_server"), network.id)
    neutron.api.put(f"/ports/{first.id}", {"port": {"security_groups": []}})
    (group,) = neutron.security_groups.of(f"clients/{cidr}")
    neutron.api.delete(f"/security-groups/{group['id']}")
    second = real.networks.create_port(owner("share_server"), network.id)
    assert let_in(real, second.id) == shares(cidr)
    for port in (first, second):
        real.networks.delete_port(port.id)
    real.networks.delete_network(network.id)


@on_openstack
def test_a_network_may_have_both_kinds_of_addresses(real: OpenStackCloud) -> None:
    networks = real.networks
    api = networks.neutron.api
    with users_network(api, "10.97.2.0/24", gateway=False, router=False) as users:
        wish = {"network_id": users.network_id, "cidr": "fd00:97::/64", "ip_version": 6}
        wish |= {"ipv6_address_mode": "dhcpv6-stateful", "ipv6_ra_mode": "dhcpv6-stateful"}
        sixth = api.post("/subnets", {"subnet": wish})["subnet"]["id"]
        network = networks.get_network(users.network_id)
        assert network is not None
        assert [subnet.ip_version for subnet in network.subnets] == [4, 6]
        both = networks.create_port(owner("share_server"), users.network_id)
        one = networks.create_port(owner("share_server"), users.network_id, sixth)
        assert [":" in address for address in both.addresses] == [False, True]
        assert [":" in address for address in one.addresses] == [True]
        assert let_in(real, both.id) == shares("10.97.2.0/24", "fd00:97::/64")
        for port in (both, one):
            networks.delete_port(port.id)


@on_openstack
def test_clients_behind_the_users_router_are_let_in(real: OpenStackCloud) -> None:
    networks = real.networks
    service = networks.service_network()
    who = owner("share_server")
    with users_network(networks.neutron.api, "10.97.3.0/24", gateway=True, router=True) as users:
        subnet = networks.create_subnet(who, service.id, "10.241.200.0/28", gateway=True)
        port = networks.create_port(who, service.id, subnet.id)
        ssh = ("tcp", 22, "10.240.0.0/16")
        assert let_in(real, port.id) == {ssh, ("tcp", 22, subnet.cidr)}
        networks.connect_router(subnet.id, users.subnet_id)
        assert let_in(real, port.id) >= shares("10.97.3.0/24")
        second = networks.create_port(owner("share_server"), service.id, subnet.id)
        assert let_in(real, second.id) == let_in(real, port.id)
        for each in (port, second):
            networks.delete_port(each.id)
        networks.disconnect_router(users.router_id, subnet.id)
        networks.delete_subnet(subnet.id)


@on_openstack
def test_what_a_killed_worker_left_is_finished(real: OpenStackCloud) -> None:
    """Between any two requests there may be a crash."""
    networks, neutron = real.networks, real.networks.neutron
    who = owner("share_network")
    half = neutron.networks.create(who)
    assert networks.create_network(who).id == half["id"]
    networks.delete_network(half["id"])

    service = networks.service_network()
    with users_network(neutron.api, "10.97.4.0/24", gateway=True, router=True) as users:
        subnet = networks.create_subnet(who, service.id, "10.241.201.0/28", gateway=True)
        place = neutron.ports.create(
            f"router_interface/{subnet.id}/{users.subnet_id}",
            network_id=service.id,
            fixed_ips=[{"subnet_id": subnet.id, "ip_address": subnet.gateway}],
        )
        assert networks.connect_router(subnet.id, users.subnet_id) == users.router_id
        plugged = neutron.ports.get(place["id"])
        assert plugged is not None
        assert plugged["device_id"] == users.router_id
        networks.disconnect_router(users.router_id, subnet.id)
        networks.delete_subnet(subnet.id)


@on_openstack
def test_an_administrators_network_may_stand_for_the_service_network(
    real: OpenStackCloud, tmp_path: Path
) -> None:
    api = real.networks.neutron.api
    with users_network(api, "10.97.5.0/24", gateway=True, router=False) as given:
        cloud = make_openstack(tmp_path, "given", service_network_name=given.network_id)
        assert cloud.networks.service_network().id == given.network_id
        port = cloud.networks.create_port(owner("share_server"), given.network_id)
        assert let_in(cloud, port.id) == {("tcp", 22, "10.97.5.0/24")}
        cloud.purge()
        assert cloud.networks.leftovers() == []
        cloud.close()
        assert real.networks.get_network(given.network_id) is not None
    with pytest.raises(CloudNotFound, match="service_network_name"):
        make_openstack(
            tmp_path, "given", service_network_name=given.network_id
        ).networks.service_network()


@on_openstack
def test_atoll_may_come_from_an_administrators_network(
    real: OpenStackCloud, tmp_path: Path
) -> None:
    api = real.networks.neutron.api
    with users_network(api, "10.97.7.0/24", gateway=False, router=False) as given:
        changes = {"admin_network_id": given.network_id}
        cloud = make_openstack(tmp_path, "admin", **changes)
        port = cloud.networks.create_port(owner("share_server"), given.network_id)
        assert let_in(cloud, port.id) == {("tcp", 22, "10.97.7.0/24")}
        host = HostPort(cloud.networks, openstack_settings(tmp_path, **changes))
        host.reach(port.addresses[0])
        assert is_answered(dhcp_server(cloud, given.subnet_id))
        host.remove()
        cloud.purge()
        assert cloud.networks.leftovers() == []
        cloud.close()


@on_openstack
def test_a_network_may_have_no_port_security(real: OpenStackCloud) -> None:
    api = real.networks.neutron.api
    with users_network(api, "10.97.8.0/24", gateway=False, router=False) as users:
        open_to_all = {"network": {"port_security_enabled": False}}
        api.put(f"/networks/{users.network_id}", open_to_all)
        who = owner("share_server")
        port = real.networks.create_port(who, users.network_id)
        assert real.networks.create_port(who, users.network_id) == port
        assert let_in(real, port.id) == set()
        real.networks.delete_port(port.id)


@on_openstack
def test_deployments_have_ranges_of_their_own(real: OpenStackCloud, tmp_path: Path) -> None:
    cloud = make_openstack(tmp_path, "beside")
    ours, theirs = (each.networks.service_network().subnets[0].cidr for each in (real, cloud))
    cloud.purge()
    cloud.close()
    assert not ip_network(ours).overlaps(ip_network(theirs))


@on_openstack
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
        assert not is_beside(inside)
        host.reach(inside)
        assert is_beside(inside)
        assert is_answered(dhcp_server(real, extra.id))
        networks.delete_subnet(extra.id)
        host.ensure()
        assert not is_beside(inside)

        networks.delete_port(port)  # by an administrator's mistake, say
        host.ensure()
        assert is_answered(dhcp_server(real, service.subnets[0].id))
    finally:
        host.remove()
        host.remove()
    assert ports() == []
    assert not is_beside(beside)


@on_openstack
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
    assert not any(is_beside(str(ip_network(subnet.cidr)[5])) for subnet in made)


@on_openstack
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


@on_openstack
def test_a_host_without_an_agent_is_told_so(real: OpenStackCloud, tmp_path: Path) -> None:
    host = HostPort(real.networks, openstack_settings(tmp_path, service_network_host="nowhere"))
    with pytest.raises(CloudError, match="no working agent on the host 'nowhere'"):
        host.ensure()
    host.remove()


def dhcp_server(cloud: OpenStackCloud, subnet_id: str) -> str:
    """An address in that subnet which answers."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        for port in cloud.networks.neutron.ports.find(fixed_ips=f"subnet_id={subnet_id}"):
            if port["device_owner"] == "network:dhcp" and port["status"] == "ACTIVE":
                found = {each["subnet_id"]: each["ip_address"] for each in port["fixed_ips"]}
                return str(found[subnet_id])
        time.sleep(1)
    raise AssertionError("no DHCP agent serves the subnet")


def is_answered(address: str, port: int = 53, seconds: float = 60) -> bool:
    """Whether somebody listens there, in a network that we are in; Neutron's DHCP servers do.

    Elsewhere a machine's gateway may answer for addresses that nobody has.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if is_beside(address):
                socket.create_connection((address, port), 2).close()
                return True
        except OSError:
            pass
        time.sleep(0.5)
    return False


@on_openstack
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
        with stand_in(real, port, subnet.gateway, 22, 2049):
            assert hears(users.network_id, address, 2049, 60)
            assert not hears(users.network_id, address, 22, 5)
            assert is_answered(address, 22)
            assert not is_answered(address, 2049, 5)
            networks.disconnect_router(users.router_id, subnet.id)
            assert falls_silent(users.network_id, address, 2049)
        networks.delete_port(port.id)
        networks.delete_subnet(subnet.id)
    host.remove()


def falls_silent(network_id: str, address: str, port: int) -> bool:
    """Whether nobody is heard any more: the router's agent needs some seconds."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not hears(network_id, address, port, 3):
            return True
        time.sleep(1)
    return False
