"""How service instances are connected: both layouts, subnets that come and go, other people's."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from atoll.cloud.base import Network
from atoll.cloud.memory import MemoryCloud
from atoll.driver.network import NeutronNetworkHelper
from atoll.errors import (
    CloudNotFound,
    CloudUnavailable,
    ConfigurationError,
    OutOfCapacity,
    ServiceInstanceException,
)
from atoll.model.keys import SERVICE_NETWORK
from tests.driver.in_memory import DriverOnMemory, RoutedDriverOnMemory, Row, rule

ALICE = "10.0.0.201"
"""On the first network that a site makes."""
BOB = "10.0.1.7"
"""On another network."""


@pytest.fixture
def routed() -> RoutedDriverOnMemory:
    return RoutedDriverOnMemory()


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return tmp_path / "world.sqlite"


def test_names_of_the_contract(site: DriverOnMemory) -> None:
    helper = site.manager.network_helper
    assert isinstance(helper, NeutronNetworkHelper)
    assert helper.NAME == "neutron"
    assert helper.admin_project_id == ""
    assert helper.neutron_api is site.cloud.networks
    assert helper.service_network_id == site.cloud.networks.service_network().id
    assert helper.get_network_name(site.network_info()) == site.network.name


# --- through the user's router --------------------------------------------------------------------


def test_one_interface_behind_the_users_router(routed: RoutedDriverOnMemory) -> None:
    server = routed.server()
    details = server["backend_details"]
    [port] = routed.cloud.networks.list_ports()
    assert details["ip"] == details["public_address"] == port.addresses[0]
    assert routed.subnets() == ["10.254.0.0/28"]
    assert ip_address(port.addresses[0]) in ip_network("10.254.0.0/28")
    assert details["router_id"] == routed.router
    share = routed.share(rules=[rule(ALICE), rule(BOB)])
    locations = routed.driver.create_share(routed.context(), share, server)
    routed.mount(locations, ALICE).write("a", b"data")
    with pytest.raises(TimeoutError):  # let in, but no router leads from there
        routed.mount(locations, BOB)


def test_each_share_server_has_a_subnet_of_its_own(routed: RoutedDriverOnMemory) -> None:
    for server_id in ("s1", "s2", "s3"):
        routed.server(server_id)
    assert routed.subnets() == ["10.254.0.0/28", "10.254.0.16/28", "10.254.0.32/28"]
    routed.driver.teardown_server({"server_id": "s2"})
    assert routed.subnets() == ["10.254.0.0/28", "10.254.0.32/28"]
    routed.server("s4")
    assert sorted(routed.subnets()) == ["10.254.0.0/28", "10.254.0.16/28", "10.254.0.32/28"]


def test_nothing_is_left_and_the_users_router_stays(routed: RoutedDriverOnMemory) -> None:
    routed.server()
    routed.driver.teardown_server({"server_id": "s1"})
    assert routed.leftovers() == {}
    routed.server("s2")  # the router is still there


def test_options_changed_later_count_for_new_servers(routed: RoutedDriverOnMemory) -> None:
    old = routed.server()
    changed = DriverOnMemory(
        routed.cloud,
        routed.storage,
        connect_share_server_to_tenant_network=False,
        service_network_cidr="192.168.0.0/24",
        service_network_division_mask=29,
    )
    again = changed.driver.setup_server(changed.network_info())
    assert again == old["backend_details"]
    changed.server("s2")
    assert routed.subnets() == ["10.254.0.0/28", "192.168.0.0/29"]


def test_a_server_keeps_the_layout_that_it_was_made_with(site: DriverOnMemory, server: Row) -> None:
    later = DriverOnMemory(
        site.cloud,
        site.storage,
        connect_share_server_to_tenant_network=False,
        admin_network_id="x",
    )
    old = server["backend_details"]
    site.cloud.kill_instance(old["instance_id"])
    new = later.manager.replace_service_instance(site.context(), old)
    assert new | {"instance_id": ""} == old | {"instance_id": ""}


def test_a_replacement_lets_clients_in_when_its_shares_are_there(
    routed: RoutedDriverOnMemory,
) -> None:
    server = routed.server()
    share = routed.share(rules=[rule(ALICE)])
    locations = routed.driver.create_share(routed.context(), share, server)
    mount = routed.mount(locations, ALICE)
    mount.write("a", b"data")
    old = server["backend_details"]
    routed.cloud.hang_instance(old["instance_id"])

    def serve(details: Row) -> None:
        with pytest.raises(TimeoutError):  # not FileNotFoundError, which a program would see
            routed.client(ALICE).mount(locations[0]["path"])
        here: Row = {"id": "s1", "backend_details": details}
        routed.driver.ensure_share(routed.context(), share, here)

    new = routed.manager.replace_service_instance(routed.context(), old, serve)
    assert new | {"instance_id": ""} == old | {"instance_id": ""}
    assert mount.read("a") == b"data"


def test_a_warm_instance_only_needs_the_router(routed: RoutedDriverOnMemory) -> None:
    warm = routed.driver.setup_server({"server_id": "s1"})
    start = routed.cloud.journal.mark()
    details = routed.driver.setup_server(routed.network_info())
    assert details["instance_id"] == warm["instance_id"]
    calls = routed.cloud.journal.counts(since=start)
    assert calls["networks.connect_router"] == 1
    assert not calls["networks.create_port"] + calls["compute.create_instance"]
    share = routed.share(rules=[rule(ALICE)])
    server: Row = {"id": "s1", "backend_details": details}
    locations = routed.driver.create_share(routed.context(), share, server)
    routed.mount(locations, ALICE).write("a", b"")


def test_the_router_is_plugged_in_while_the_instance_boots(routed: RoutedDriverOnMemory) -> None:
    routed.server()
    calls = [call.name for call in routed.cloud.journal.calls()]
    plugged = calls.index("networks.connect_router")
    assert calls.index("compute.create_instance") < plugged < calls.index("compute.connect_ports")


def test_a_router_that_fails_late_leaves_no_instance(routed: RoutedDriverOnMemory) -> None:
    routed.cloud.faults.fail("connect_router", "CloudError", "The ranges overlap.")
    with pytest.raises(ServiceInstanceException, match="The ranges overlap"):
        routed.server()
    assert routed.cloud.compute.list_instances() == []
    routed.driver.teardown_server({"server_id": "s1"})
    assert routed.leftovers() == {}


def test_no_router_is_said_before_anything_boots(routed: RoutedDriverOnMemory) -> None:
    routed.cloud.remove_router(routed.router)
    with pytest.raises(ServiceInstanceException, match="router"):
        routed.server()
    assert routed.cloud.compute.list_instances() == []
    routed.driver.teardown_server({"server_id": "s1"})
    assert routed.leftovers() == {}


def test_no_gateway_is_said(routed: RoutedDriverOnMemory) -> None:
    tenant = routed.cloud.networks
    bare = tenant.create_subnet("share_network_subnet/x", routed.network.id, "10.9.0.0/24",
                                gateway=False)  # fmt: skip
    info = routed.network_info() | {"neutron_subnet_id": bare.id}
    with pytest.raises(ServiceInstanceException, match="no gateway"):
        routed.driver.setup_server(info)


@pytest.mark.parametrize(
    "call", ["create_subnet", "create_port", "connect_router", "disconnect_router", "delete_subnet"]
)
def test_a_lost_answer_leaves_no_double_and_no_leak(
    routed: RoutedDriverOnMemory, call: str
) -> None:
    routed.cloud.faults.lose(call)
    for act in (routed.server, lambda: routed.driver.teardown_server({"server_id": "s1"})):
        try:
            act()
        except CloudUnavailable:
            act()
    assert routed.leftovers() == {}


def test_two_workers_at_once_cut_different_subnets(world: Path) -> None:
    site = RoutedDriverOnMemory(MemoryCloud("test", path=world, silence=0.01))
    others = [
        DriverOnMemory(
            MemoryCloud("test", path=world, silence=0.01),
            site.storage,
            connect_share_server_to_tenant_network=False,
        )
        for _ in range(2)
    ]
    for other in others:
        other.network = site.network
    # Each looks at the network before any of them has cut.
    site.cloud.faults.delay("create_subnet", 0.2, times=6)
    with ThreadPoolExecutor(6) as pool:
        wanted = [(s, f"s{n}") for n, s in enumerate([site, *others] * 2)]
        list(pool.map(lambda each: each[0].server(each[1]), wanted))
    assert len(set(site.subnets())) == 6
    assert sorted(site.subnets()) == sorted(f"10.254.0.{16 * n}/28" for n in range(6))


def test_who_shares_a_range_with_another_gives_way(routed: RoutedDriverOnMemory) -> None:
    service = routed.cloud.networks.service_network()
    routed.cloud.faults.delay("get_network", 0.5, about=service.id)
    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(routed.server)
        while not routed.subnets():
            time.sleep(0.01)
        assert routed.subnets() == ["10.254.0.0/28"]
        routed.cloud.add_subnet(service.id, "10.254.0.0/27")  # at the same moment, so to speak
        assert server.result()["backend_details"]["ip"].startswith("10.254.0.3")
    assert routed.subnets() == ["10.254.0.32/28"]


def test_the_range_ends(routed: RoutedDriverOnMemory) -> None:
    small = RoutedDriverOnMemory(service_network_cidr="10.254.0.0/28")
    small.server()
    with pytest.raises(OutOfCapacity, match=r"10\.254\.0\.0/28"):
        small.server("s2")
    small.storage.delete("share_server/s1", "subnet_id")  # its worker died before it wrote that
    small.storage.delete("share_server/s1", "service_port_id")
    assert small.server()["backend_details"]["subnet_id"]


def test_ranges_that_can_not_be_cut_are_said_at_the_start() -> None:
    for cidr, mask in (("10.254.0.0/16", 30), ("10.254.0.0/16", 12), ("10.254.0.1/16", 28)):
        site = DriverOnMemory(service_network_cidr=cidr, service_network_division_mask=mask)
        with pytest.raises(ConfigurationError):
            site.driver.check_for_setup_error()


def test_ipv6_service_subnets() -> None:
    site = RoutedDriverOnMemory(
        service_network_cidr="fd00:9::/48", service_network_division_mask=64
    )
    server = site.server()
    share = site.share(rules=[rule(ALICE)])
    locations = site.driver.create_share(site.context(), share, server)
    assert locations[0]["path"].startswith("[fd00:9::")
    site.mount(locations, ALICE).write("a", b"")


def test_subnets_of_one_share_network_have_their_own_servers(routed: RoutedDriverOnMemory) -> None:
    """A share network's subnets may lie in different networks, at different routers."""
    routed.server()
    second = routed.cloud.networks.create_network("share_network_subnet/n2")
    routed.cloud.add_router(second.subnets[0].id)
    info = routed.network_info("s2") | {
        "neutron_net_id": second.id,
        "neutron_subnet_id": second.subnets[0].id,
    }
    server: Row = {"id": "s2", "backend_details": routed.driver.setup_server(info)}
    share = routed.share(rules=[rule(ALICE), rule(BOB)])
    locations = routed.driver.create_share(routed.context(), share, server)
    routed.mount(locations, BOB).write("a", b"")
    with pytest.raises(TimeoutError):
        routed.mount(locations, ALICE)


def test_another_deployments_things_are_left_alone(world: Path) -> None:
    site = RoutedDriverOnMemory(MemoryCloud("test", path=world, silence=0.01))
    other = DriverOnMemory(
        MemoryCloud("other", path=world, silence=0.01),
        connect_share_server_to_tenant_network=False,
    )
    other.network = site.network  # of the same user, behind the same router
    site.server()
    kept = other.server()["backend_details"]
    site.driver.teardown_server({"server_id": "s1"})
    assert site.leftovers() == {}
    assert other.cloud.leaks()["router interfaces"] == [f"{kept['subnet_id']} {site.router}"]


# --- the administrator's network ------------------------------------------------------------------


def admin_network(cloud: MemoryCloud) -> Network:
    return cloud.networks.create_network("administrator", "172.16.0.0/24")


@pytest.mark.parametrize("direct", [True, False])
def test_an_admin_network_stands_in_for_the_service_network(direct: bool) -> None:
    cloud = MemoryCloud("test", silence=0.01)
    admin = admin_network(cloud)
    site = RoutedDriverOnMemory(
        cloud,
        connect_share_server_to_tenant_network=direct,
        admin_network_id=admin.id,
        admin_subnet_id=admin.subnets[0].id,
    )
    site.driver.do_setup(None)
    server = site.server()
    details = server["backend_details"]
    assert ip_address(details["ip"]) in ip_network("172.16.0.0/24")
    assert details["admin_port_id"]
    public = ip_address(details["public_address"])
    assert public in ip_network(site.network.subnets[0].cidr if direct else "10.254.0.0/28")
    [instance] = cloud.compute.list_instances()
    assert len(instance.port_ids) == 2
    share = site.share(rules=[rule("10.0.1.201")])
    site.mount(site.driver.create_share(site.context(), share, server), "10.0.1.201")
    if direct:
        owners = [network.owner for network in cloud.networks.list_networks()]
        assert SERVICE_NETWORK not in owners
    site.driver.delete_share(site.context(), share, server)
    site.driver.teardown_server({"server_id": "s1"})
    assert site.leftovers() == {}


def test_an_admin_network_that_is_not_there() -> None:
    site = DriverOnMemory(admin_network_id="gone")
    with pytest.raises(CloudNotFound, match="admin_network_id"):
        site.driver.do_setup(None)
