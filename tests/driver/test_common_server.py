"""Without share servers: all shares are on one instance, which is the administrator's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atoll.cloud.base import Instance
from atoll.cloud.memory import MemoryCloud
from atoll.driver.wanted import WantedShares
from atoll.errors import (
    CloudError,
    ConfigurationError,
    ServiceInstanceException,
    ServiceInstanceUnavailable,
)
from tests import common_server
from tests.driver.in_memory import DriverOnMemory, Row, rule

ALICE = "10.9.0.5"


class CommonServerOnMemory(DriverOnMemory):
    """A site with the administrator's instance on it."""

    def __init__(self, directory: Path, **options: Any) -> None:
        world = directory / "world.sqlite"
        self.nas: Instance = common_server.make(world)
        super().__init__(
            MemoryCloud("test", path=world, silence=0.01),
            **(common_server.options(directory) | options),
        )

    def served_share(self, **more: Any) -> Row:
        share = self.share(rules=[rule(ALICE)], **more)
        share["locations"] = self.driver.create_share(self.context(), share)
        return share


@pytest.fixture
def common(tmp_path: Path) -> CommonServerOnMemory:
    return CommonServerOnMemory(tmp_path)


def test_a_shares_life_on_the_common_server(common: CommonServerOnMemory) -> None:
    common.driver.do_setup(None)
    common.driver.check_for_setup_error()
    share = common.served_share()
    mount = common.mount(share["locations"], ALICE)
    mount.write("a", b"data")
    common.driver.extend_share(common.context(), share, 3)
    assert mount.size_gib() == 3
    common.driver.create_snapshot(common.context(), {"id": "p1", "share_id": share["id"]})
    clone = common.share(3, rules=[rule(ALICE)])
    update = common.driver.create_share_from_snapshot(common.context(), clone, {"id": "p1"})
    assert common.mount(update["export_locations"], ALICE).read("a") == b"data"
    updates = common.driver.update_access(common.context(), share, [], [], [])
    assert not updates
    with pytest.raises(PermissionError):
        mount.read("a")
    assert common.driver.ensure_share(common.context(), share) == share["locations"]
    for one in (share, clone):
        common.driver.delete_share(common.context(), one)
    common.driver.delete_snapshot(common.context(), {"id": "p1", "share_id": share["id"]})
    assert common.leftovers() == {}
    found = common.cloud.compute.find_instance("nas")
    assert found is not None
    assert found.status == "active"
    assert common.cloud.accidents() == []


@pytest.mark.parametrize("ours", [True, False])
def test_shares_are_private_where_others_use_the_server(tmp_path: Path, ours: bool) -> None:
    site = CommonServerOnMemory(tmp_path, driver_handles_share_servers=ours)
    shares, share = WantedShares(site.options, site.storage), site.share()
    wish = shares.wish(share, "v1", "ext4", shares.verdict(share, [rule(ALICE)]))
    assert wish.private is not ours


def test_details_by_name_by_id_and_by_address(common: CommonServerOnMemory, tmp_path: Path) -> None:
    details = common.manager.get_common_server()
    networks = common.cloud.networks
    by_network = {port.network_id: port for port in networks.ports_of_instance(common.nas.id)}
    names = {}
    for network_id, port in by_network.items():
        network = networks.get_network(network_id)
        assert network is not None
        names[network.name] = port.addresses[0]
    assert details["ip"] == names["admin/management"]
    assert details["public_address"] == names["admin/clients"]
    again = CommonServerOnMemory(
        tmp_path,
        service_instance_name_or_id=common.nas.id,
        service_net_name_or_ip=details["ip"],
        tenant_net_name_or_ip="fd00::7",
    )
    assert again.manager.get_common_server() == {
        **details,
        "public_address": "fd00::7",
        "public_addresses": "fd00::7",
    }


def test_it_is_found_once_an_operation(common: CommonServerOnMemory) -> None:
    start = common.cloud.journal.mark()
    common.served_share()
    assert common.cloud.journal.count("find_instance", since=start) == 1


def test_it_is_not_ours_to_touch(common: CommonServerOnMemory) -> None:
    details = common.manager.get_common_server()
    manager = common.manager
    with pytest.raises(ServiceInstanceException, match="not Atoll's"):
        manager.reboot_server(details)
    with pytest.raises(ServiceInstanceException, match="not Atoll's"):
        manager.replace_service_instance(None, details)
    with pytest.raises(ServiceInstanceException, match="not Atoll's"):
        manager.delete_service_instance(None, details)
    common.driver.teardown_server(details)
    assert common.cloud.compute.find_instance("nas") is not None


def test_one_that_hangs_is_waited_for(common: CommonServerOnMemory) -> None:
    share = common.served_share()
    common.cloud.hang_instance(common.nas.id)
    with pytest.raises(ServiceInstanceUnavailable):
        common.driver.delete_share(common.context(), share)
    common.cloud.hang_instance(common.nas.id, hung=False)
    common.pool.drop(f"common_server/{common.nas.id}")  # it would be left alone for a second
    common.driver.delete_share(common.context(), share)
    assert common.leftovers() == {}


def test_one_that_is_gone(common: CommonServerOnMemory, tmp_path: Path) -> None:
    share = common.served_share()
    common.cloud.delete_instance(common.nas.id)
    fresh = DriverOnMemory(common.cloud, **common_server.options(tmp_path))
    with pytest.raises(ServiceInstanceUnavailable, match="nas"):
        fresh.driver.create_share(fresh.context(), fresh.share())
    common.driver.delete_share(common.context(), share)  # nobody serves it any more
    assert common.leftovers() == {}


def test_two_of_one_name_are_refused(common: CommonServerOnMemory, tmp_path: Path) -> None:
    common_server.make(tmp_path / "world.sqlite", owner="admin/another")
    with pytest.raises(CloudError, match="2 instances"):
        common.manager.get_common_server()


def test_an_unknown_host_key_is_refused(tmp_path: Path) -> None:
    site = CommonServerOnMemory(tmp_path, service_instance_host_key="ssh-ed25519 AAAAother")
    with pytest.raises(ServiceInstanceUnavailable):
        site.driver.create_share(site.context(), site.share())


def test_the_host_key_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "ssh_host_ed25519_key.pub"
    file.write_text(f"{common_server.HOST_KEY} root@nas\n", encoding="utf-8")
    CommonServerOnMemory(tmp_path, service_instance_host_key=str(file)).served_share()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("service_instance_name_or_id", "", "service_instance_name_or_id"),
        ("path_to_private_key", Path("/nowhere/key"), "/nowhere/key"),
        ("service_instance_host_key", "junk", "public key"),
    ],
)
def test_options_that_can_not_be(tmp_path: Path, option: str, value: Any, words: str) -> None:
    site = CommonServerOnMemory(tmp_path, **{option: value})
    with pytest.raises(ConfigurationError, match=words):
        site.manager.get_common_server()


def test_a_network_that_it_is_not_in(tmp_path: Path) -> None:
    site = CommonServerOnMemory(tmp_path, tenant_net_name_or_ip="elsewhere")
    with pytest.raises(ServiceInstanceException, match="elsewhere"):
        site.manager.get_common_server()


def test_the_capability_says_it(common: CommonServerOnMemory) -> None:
    stats = common.driver.get_share_stats(refresh=True)
    assert stats["driver_handles_share_servers"] is False
    assert stats["pools"][0]["driver_handles_share_servers"] is False
