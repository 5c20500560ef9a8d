"""Service instances: cattle with addresses that stay."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from atoll.driver.answer import Answer
from atoll.driver.identity import HOST_KEY, HOST_KEY_PUBLIC, LOGIN_KEY, InstanceKeys
from atoll.errors import ServiceInstanceException, ServiceInstanceUnavailable
from tests.driver.in_memory import DriverOnMemory, Row, rule

ALICE = "10.9.0.5"


def test_details_say_where_it_is_and_hold_no_secret(site: DriverOnMemory, server: Row) -> None:
    details = server["backend_details"]
    assert all(isinstance(value, str) for value in details.values())
    ports = {port.id: port for port in site.cloud.networks.list_ports()}
    assert details["public_address"] == ports[details["public_port_id"]].addresses[0]
    assert ports[details["public_port_id"]].network_id == site.network.id
    assert details["ip"] == ports[details["service_port_id"]].addresses[0]
    for text in (json.dumps(details), *site.storage.in_clear()):
        assert "PRIVATE KEY" not in text


def test_keys_are_its_own_and_the_host_key_is_forgotten(site: DriverOnMemory, server: Row) -> None:
    site.server("s2")
    keys = [site.storage.get(f"share_server/{each}", LOGIN_KEY) for each in ("s1", "s2")]
    assert keys[0] != keys[1]
    private = load_ssh_private_key((keys[0] or "").encode(), None)
    access = InstanceKeys(site.storage, "share_server/s1").access("atoll", "10.0.0.1")
    assert private
    assert load_ssh_public_key(access.host_key_public.encode())
    assert access.private_key not in repr(access)
    assert site.storage.get("share_server/s1", HOST_KEY) is None
    assert server


def test_volumes_are_plugged_in_while_it_boots(site: DriverOnMemory) -> None:
    share = site.share(rules=[rule(ALICE)])

    def on_active(instance_id: str) -> None:
        assert not site.cloud.journal.calls("open_guest")
        site.driver.prepare_share(site.context(), share, instance_id)
        [volume] = site.share_volumes()
        assert volume.instance_id == instance_id

    server = site.server(on_active=on_active)
    site.driver.create_share(site.context(), share, server)
    [volume] = site.share_volumes()
    assert site.cloud.journal.count("attach_volume", about=volume.id) == 1

    site.cloud.kill_instance(server["backend_details"]["instance_id"])
    seen: list[tuple[str | None, str]] = []

    def replaced(instance_id: str) -> None:
        site.driver.plug_in_early([share["id"], "of no volume"], instance_id)
        seen.extend((volume.instance_id, instance_id) for volume in site.share_volumes())

    details = server["backend_details"]
    details = site.manager.replace_service_instance(site.context(), details, on_active=replaced)
    assert seen == [(details["instance_id"], details["instance_id"])]


def test_a_volume_that_can_not_be_plugged_in_early_is_plugged_in_later(
    site: DriverOnMemory,
) -> None:
    share = site.share(rules=[rule(ALICE)])
    site.cloud.faults.fail("attach_volume")
    server = site.server(
        on_active=lambda instance: site.driver.prepare_share(site.context(), share, instance)
    )
    [volume] = site.share_volumes()
    assert volume.instance_id is None
    site.mount(site.driver.create_share(site.context(), share, server), ALICE)


@pytest.mark.parametrize("accident", ["kill_instance", "delete_instance", "hang_instance"])
def test_a_replacement_serves_at_the_same_address(
    site: DriverOnMemory, server: Row, accident: str
) -> None:
    share = site.share(rules=[rule(ALICE)])
    locations = site.driver.create_share(site.context(), share, server)
    mount = site.mount(locations, ALICE)
    mount.write("a", b"data")
    old = server["backend_details"]
    pin = site.storage.get("share_server/s1", HOST_KEY_PUBLIC)
    getattr(site.cloud, accident)(old["instance_id"])
    assert site.manager.answer(old) == Answer.SILENT

    new = site.manager.replace_service_instance(site.context(), old)
    assert site.manager.answer(new) == Answer.HEALTHY
    assert new["instance_id"] != old["instance_id"]
    assert new | {"instance_id": ""} == old | {"instance_id": ""}
    assert site.storage.get("share_server/s1", HOST_KEY_PUBLIC) != pin
    server["backend_details"] = new
    assert site.driver.ensure_share(site.context(), share, server) == locations
    assert mount.read("a") == b"data"
    assert len(site.cloud.compute.list_instances()) == 1


def test_clients_reach_a_replacement_only_when_it_serves(site: DriverOnMemory, server: Row) -> None:
    share = site.share(rules=[rule(ALICE)])
    mount = site.mount(site.driver.create_share(site.context(), share, server), ALICE)
    mount.write("a", b"data")
    old = server["backend_details"]
    site.cloud.kill_instance(old["instance_id"])
    served: list[Row] = []

    def serve(new: Row) -> None:
        changed: Row = {**server, "backend_details": new}
        site.driver.ensure_share(site.context(), share, changed)
        served.append(new)
        with pytest.raises(TimeoutError):  # waits, as for a dead one
            mount.read("a")

    new = site.manager.replace_service_instance(site.context(), old, serve)
    assert served == [new]
    assert mount.read("a") == b"data"


def test_an_interrupted_replacement_goes_on_where_it_was(site: DriverOnMemory, server: Row) -> None:
    old = server["backend_details"]
    site.cloud.kill_instance(old["instance_id"])
    first = site.manager.replace_service_instance(site.context(), old)
    again = site.manager.replace_service_instance(site.context(), old)  # details weren't stored
    assert again == first


def test_a_reboot_brings_the_shares_back(site: DriverOnMemory, server: Row) -> None:
    share = site.share(rules=[rule(ALICE)])
    mount = site.mount(site.driver.create_share(site.context(), share, server), ALICE)
    mount.write("a", b"data")
    details = server["backend_details"]
    site.cloud.hang_instance(details["instance_id"])
    with pytest.raises(ServiceInstanceUnavailable):
        site.manager.ensure_service_instance(None, details)
    site.manager.reboot_server(details)
    assert site.manager.ensure_service_instance(None, details)
    assert mount.read("a") == b"data"


@pytest.mark.parametrize(
    ("accident", "word"),
    [
        ("kill_instance", "stopped"),
        ("delete_instance", "gone"),
        ("fail_instance", "No valid host"),
        ("hang_instance", "does not answer"),
    ],
)
def test_what_is_wrong_is_said(site: DriverOnMemory, server: Row, accident: str, word: str) -> None:
    getattr(site.cloud, accident)(server["backend_details"]["instance_id"])
    with pytest.raises(ServiceInstanceUnavailable, match=word):
        site.manager.ensure_service_instance(None, server["backend_details"])


def test_an_instance_that_never_boots_is_removed_and_the_next_try_is_fresh(
    site: DriverOnMemory,
) -> None:
    site.cloud.faults.fail("open_guest", "GuestUnreachable", times=None)
    with pytest.raises(ServiceInstanceException, match="did not come up"):
        site.server()
    assert site.cloud.compute.list_instances() == []
    site.cloud.faults.clear()
    site.server()
    assert len(site.cloud.compute.list_instances()) == 1


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_stand_in_is_waited_for_while_its_nfs_server_answers(
    site: DriverOnMemory, server: Row, is_alive: bool
) -> None:
    stand_in = site.driver.setup_server({"server_id": "warm"})
    site.pool.drop("share_server/warm")  # its channel would be used
    instance = stand_in["instance_id"]
    site.cloud.faults.fail("open_guest", "GuestUnreachable", about=instance)
    if not is_alive:
        site.cloud.faults.fail("_null_call", "GuestUnreachable", times=None, about=instance)
    old = server["backend_details"]
    site.cloud.kill_instance(old["instance_id"])
    new = site.manager.replace_service_instance(site.context(), old, stand_in="warm")
    assert (new["instance_id"] == instance) == is_alive


def test_an_instance_in_error_is_made_anew(site: DriverOnMemory, server: Row) -> None:
    site.cloud.fail_instance(server["backend_details"]["instance_id"])
    assert (
        site.server()["backend_details"]["instance_id"]
        != (server["backend_details"]["instance_id"])
    )


def test_a_missing_network_is_the_users_to_mend(site: DriverOnMemory) -> None:
    info = site.network_info() | {"neutron_net_id": "gone"}
    with pytest.raises(ServiceInstanceException, match="gone"):
        site.driver.setup_server(info)
    assert site.cloud.compute.list_instances() == []
    site.driver.teardown_server({"server_id": "s1"})
    assert site.leftovers() == {}


def test_a_warm_instance_is_plugged_into_a_network_later(site: DriverOnMemory) -> None:
    warm = site.driver.setup_server({"server_id": "s1"})
    assert warm["public_address"] == ""
    start = site.cloud.journal.mark()
    details = site.driver.setup_server(site.network_info())
    assert site.cloud.journal.count("create_instance", since=start) == 0
    assert details["instance_id"] == warm["instance_id"]
    share = site.share(rules=[rule(ALICE)])
    server: Row = {"id": "s1", "backend_details": details}
    site.mount(site.driver.create_share(site.context(), share, server), ALICE).write("a", b"")


def test_ipv6_networks_give_bracketed_locations(site: DriverOnMemory) -> None:
    network = site.cloud.networks.create_network("share_network_subnet/six", "fd00:7::/64")
    info = {"server_id": "s1", "neutron_net_id": network.id, "neutron_subnet_id": ""}
    server: Row = {"id": "s1", "backend_details": site.driver.setup_server(info)}
    share = site.share(rules=[rule("fd00:7::99")])
    locations = site.driver.create_share(site.context(), share, server)
    assert locations[0]["path"].startswith("[fd00:7::")


def test_options_and_the_common_server(site: DriverOnMemory) -> None:
    assert site.manager.get_config_option("service_instance_user") == "atoll"
    with pytest.raises(ServiceInstanceException, match="handles share servers"):
        site.manager.get_common_server()
    site.driver.do_setup(None)
    site.driver.check_for_setup_error()
