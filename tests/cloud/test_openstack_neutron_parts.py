"""What Neutron and this machine get from us: address ranges, rules, MACs, devices."""

from __future__ import annotations

import configparser
from importlib import resources
from ipaddress import ip_network
from pathlib import Path

import pytest

from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.host_devices import (
    InternalPort,
    VethPair,
    is_on_link,
    overlaps,
    set_addresses,
)
from atoll.cloud.openstack.networks import NeutronNetworks
from atoll.cloud.openstack.ports import mac_for
from atoll.cloud.openstack.security_groups import SHARE_PORTS, share_rules
from atoll.cloud.openstack.service_network import own_prefix
from atoll.cloud.openstack.settings import OpenStackSettings
from atoll.cloud.openstack.subnets import free_range
from atoll.cloud.program import run
from atoll.errors import CloudError, OutOfCapacity

from .neutron_double import neutron_double


def test_a_port_is_connected_once_nova_has_started_the_guest() -> None:
    settings = OpenStackSettings(state_dir=Path("/nowhere"))
    with neutron_double() as (server, api):
        ports = NeutronNetworks(api, "here", settings).ports
        network = server.post("networks", {"name": "users", "description": ""})
        users = {"network_id": network["id"], "cidr": "10.1.0.0/24", "ip_version": 4}
        server.post("subnets", users)
        port = ports.create("share_server/1", network["id"], "")
        made = server.things["ports"][port.id]
        assert made["admin_state_up"] is False

        made |= {"device_id": "vm", "device_owner": "compute:nova", "status": "DOWN"}
        others = server.post("ports", {**made, "description": "", "admin_state_up": False})
        assert ports.connect("vm") == [made["id"]]
        assert ports.unwired() == {"vm": [made["id"]]}
        assert (made["admin_state_up"], others["admin_state_up"]) == (True, False)

        made["status"] = "ACTIVE"
        assert ports.connect("vm") == []
        assert ports.unwired() == {"vm": []}
        assert sum(request.startswith("PUT /v2.0/ports/") for request in server.requests) == 1


@pytest.mark.parametrize(
    ("cidr", "prefix"),
    [("10.254.0.0/16", 20), ("10.254.0.0/20", 24), ("10.254.0.0/24", 25), ("fd00::/48", 64)],
)
def test_the_service_networks_own_subnet_leaves_room_for_others(cidr: str, prefix: int) -> None:
    assert own_prefix(ip_network(cidr)) == prefix


def test_the_first_free_range_overlaps_with_none() -> None:
    assert str(free_range("10.0.0.0/16", 20, [])) == "10.0.0.0/20"
    taken = ["10.0.0.16/28", "10.0.16.0/19", "fd00::/64", "192.168.0.0/16"]
    assert str(free_range("10.0.0.0/16", 20, taken[:1])) == "10.0.16.0/20"
    assert str(free_range("10.0.0.0/16", 20, ["10.0.0.0/17"])) == "10.0.128.0/20"
    with pytest.raises(OutOfCapacity):
        free_range("10.0.0.0/24", 28, ["10.0.0.0/8"])
    with pytest.raises(CloudError):
        free_range("nonsense", 28, [])


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


@pytest.mark.root
def test_devices_are_plugged_in_as_often_as_one_likes() -> None:
    veth = VethPair()
    device = veth.plug(PORT, 1450)
    try:
        assert veth.plug(PORT, 1450) == device
        set_addresses(device, {"10.239.0.1/28", "fd00:239::1/64"})
        set_addresses(device, {"10.239.0.1/28", "10.239.1.1/28"})
        assert is_on_link("10.239.1.2")
        assert not is_on_link("10.239.2.2")
        assert not is_on_link("fd00:239::2")
        assert is_on_link("10.239.1.2", device)
        assert not is_on_link("10.239.1.2", "another")
        assert overlaps(device, ["10.239.1.3/24"]) == {}
        assert overlaps("another", ["10.239.1.3/24"]) == {device: "10.239.1.0/28"}
        assert overlaps("another", ["10.239.2.3/24"]) == {}
        shown = run(["ip", "address", "show", "dev", device])
        assert "fa:00:00:00:00:01" in shown
        assert "mtu 1450" in shown
        veth.remove_others(PORT)
        assert is_on_link("10.239.0.2")
        veth.remove_others(PORT | {"id": "fedcba9876543210"})  # the port was made anew
        assert not is_on_link("10.239.0.2")
    finally:
        veth.unplug(PORT["id"])
        veth.unplug(PORT["id"])
