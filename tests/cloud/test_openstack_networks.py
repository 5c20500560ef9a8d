"""Networks, ports and rules on a real Neutron."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from atoll.cloud.openstack import OpenStackCloud
from atoll.cloud.openstack.host_port import HostPort
from atoll.cloud.openstack.security_groups import share_rules
from atoll.errors import CloudNotFound

from .openstack_packets import dhcp_server, is_answered
from .openstack_place import make_openstack, openstack_settings, users_network
from .site import owner

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(600)]


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


def test_deployments_have_ranges_of_their_own(real: OpenStackCloud, tmp_path: Path) -> None:
    cloud = make_openstack(tmp_path, "beside")
    ours, theirs = (each.networks.service_network().subnets[0].cidr for each in (real, cloud))
    cloud.purge()
    cloud.close()
    assert not ip_network(ours).overlaps(ip_network(theirs))
