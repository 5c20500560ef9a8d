"""A user's day on the simulated cloud, through the API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.lifecycle.house import CLIENT, House


def test_a_share_is_made_filled_grown_copied_and_removed(house: House) -> None:
    share_id = house.create()
    assert house.settled(share_id)["status"] == "available"
    house.allow(share_id)
    house.settled(share_id)
    mount = house.mount(share_id)
    mount.write("data", b"precious")

    house.act(share_id, extend={"new_size": 2})
    assert house.settled(share_id)["size"] == 2
    assert mount.read("data") == b"precious"

    snapshot_id = house.snapshot(share_id)
    house.until(
        lambda: house.call("GET", f"/snapshots/{snapshot_id}")["snapshot"]["status"] == "available",
        "the snapshot",
    )
    copy_id = house.create(size=3, snapshot_id=snapshot_id)
    assert house.settled(copy_id)["status"] == "available"
    house.allow(copy_id, level="ro")
    house.settled(copy_id)
    copy = house.mount(copy_id)
    assert copy.read("data") == b"precious"
    with pytest.raises(OSError, match="Read-only"):
        copy.write("data", b"changed")
    house.empty()


def test_a_rule_taken_away_shuts_the_client_out_and_no_other(house: House) -> None:
    share_id = house.create()
    house.settled(share_id)
    first = house.allow(share_id, CLIENT)
    house.allow(share_id, f"{CLIENT[:-1]}")  # 10.0.0.20 is not 10.0.0.201
    house.settled(share_id)
    house.act(share_id, deny_access={"access_id": first})
    house.until(lambda: CLIENT not in house.rules(share_id), "the rule to go")
    assert not house.cloud.client(CLIENT).may_mount(house.export(share_id))
    assert house.cloud.client(CLIENT[:-1]).may_mount(house.export(share_id))


def test_many_shares_at_once_share_one_server(house: House) -> None:
    wanted = [house.create() for _ in range(20)]
    assert {house.settled(share_id)["status"] for share_id in wanted} == {"available"}
    assert len(house.call("GET", "/share-servers")["share_servers"]) == 1
    house.empty()


def test_volumes_are_plugged_in_before_their_instance_answers(house: House) -> None:
    house.cloud.faults.delay("open_guest", 2)
    made = [house.create() for _ in range(3)]
    house.until(lambda: len(house.cloud.journal.calls("attach_volume")) == 3, "all volumes")
    [server] = house.call("GET", "/share-servers")["share_servers"]
    assert server["status"] == "creating"
    for share_id in made:
        assert house.settled(share_id)["status"] == "available"
    assert len(house.cloud.journal.calls("attach_volume")) == 3


def test_a_full_server_gets_a_neighbour(new_house: Callable[..., House]) -> None:
    house = new_house(max_shares_per_share_server=3)
    house.start_worker()
    wanted = [house.create() for _ in range(7)]
    assert {house.settled(share_id)["status"] for share_id in wanted} == {"available"}
    assert len(house.call("GET", "/share-servers")["share_servers"]) == 3
    house.empty()


def test_a_cloud_without_room_says_so_and_leaks_nothing(house: House) -> None:
    house.cloud.faults.fail("create_volume", "OutOfCapacity", times=None)
    share_id = house.create()
    assert house.settled(share_id)["status"] == "error"
    [message] = house.call("GET", "/messages")["messages"]
    assert message["resource_id"] == share_id
    assert "room" in message["user_message"]
    house.cloud.faults.clear()
    house.empty()


def test_a_warm_instance_is_taken_and_another_one_boots(new_house: Callable[..., House]) -> None:
    house = new_house(warm_service_instances=1, reconcile_interval=1)
    house.start_worker()

    def servers() -> list[Any]:
        return list(house.call("GET", "/share-servers")["share_servers"])

    [warm] = house.until(lambda: [s for s in servers() if s["status"] == "active"], "a warm one")
    mark = house.cloud.journal.mark()
    share_id = house.create()
    assert house.settled(share_id)["status"] == "available"
    house.allow(share_id)
    house.settled(share_id)
    house.mount(share_id).write("data", b"precious")
    assert house.share(share_id)["share_server_id"] == warm["id"]
    owner = f"share_server/{warm['id']}"
    assert not house.cloud.journal.calls("create_instance", about=owner, since=mark)
    house.until(lambda: len(servers()) == 2, "the next warm one")


@pytest.mark.parametrize("accident", ["it is gone", "it can't be started"])
def test_a_mounted_client_waits_while_its_instance_is_replaced(
    new_house: Callable[..., House], accident: str
) -> None:
    house = new_house(reconcile_interval=0.1)
    house.start_worker()
    shares = [house.create() for _ in range(3)]
    mounts = []
    for share_id in shares:
        house.settled(share_id)
        house.allow(share_id)
        house.settled(share_id)
        mounts.append(house.mount(share_id))
        mounts[-1].write("data", b"precious")
    [old] = house.cloud.compute.list_instances()
    if accident == "it is gone":
        house.cloud.delete_instance(old.id)
    else:
        house.cloud.faults.fail("reboot_instance", "CloudError", times=None)
        house.cloud.kill_instance(old.id)

    def read() -> bool:
        """True once all are served again; any error but a time-out fails a user's program."""
        try:
            return [mount.read("data") for mount in mounts] == [b"precious"] * 3
        except TimeoutError:
            return False

    end = time.monotonic() + 20
    while not read():
        assert time.monotonic() < end
    [new] = house.cloud.compute.list_instances()
    assert new.id != old.id
