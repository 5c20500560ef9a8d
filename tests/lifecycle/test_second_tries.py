"""What failed is tried again when its cause may be gone, and users read what they wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.lifecycle.house import House

NO_HOST = "No valid host was found."


@pytest.fixture
def house(new_house: Callable[..., House]) -> House:
    """A deployment that looks after what it has all the time."""
    made = new_house(reconcile_interval=0.2)
    made.start_worker()
    return made


def becomes(house: House, share_id: str, status: str) -> dict[str, Any]:
    """The share, once it has this status."""

    def look() -> dict[str, Any] | None:
        share = house.share(share_id)
        return share if share["status"] == status else None

    share: dict[str, Any] = house.until(look, f"status {status}")
    return share


def told(house: House, resource_id: str) -> list[str]:
    """What the user was told of it."""
    messages = house.call("GET", "/messages")["messages"]
    return [m["user_message"] for m in messages if m["resource_id"] == resource_id]


def beat(house: House) -> str:
    """When the worker gave its last sign of life, "" for its first; it still sees its pool."""
    [pool] = house.call("GET", "/scheduler-stats/pools")["pools"]
    assert pool["name"]
    [service] = house.call("GET", "/services")["services"]
    return service["updated_at"] or ""


def test_a_share_that_found_no_room_is_made_when_there_is_room(house: House) -> None:
    house.cloud.faults.fail("create_volume", "OutOfCapacity", times=None)
    share_id = house.create()
    becomes(house, share_id, "error")
    mark = house.cloud.journal.mark()
    house.until(lambda: house.cloud.journal.calls("create_volume", since=mark), "another try")
    becomes(house, share_id, "error")
    house.cloud.faults.clear()
    becomes(house, share_id, "available")
    assert len(told(house, share_id)) == 1
    house.empty()


def test_a_share_server_that_found_no_host_is_made_when_there_is_one(house: House) -> None:
    house.cloud.faults.fail("wait_for_instance", "CloudError", NO_HOST, times=3)
    share_id = house.create()
    becomes(house, share_id, "error")
    assert "The service instance did not become active." in told(house, share_id)[0]
    becomes(house, share_id, "available")
    assert len(told(house, share_id)) == 1
    assert len(house.call("GET", "/share-servers")["share_servers"]) == 1
    assert len(house.cloud.compute.list_instances()) == 1
    house.empty()


def test_a_share_that_could_not_grow_grows_later(house: House) -> None:
    share_id = house.create()
    becomes(house, share_id, "available")
    house.cloud.faults.fail("extend_volume", "OutOfCapacity", times=2)
    house.act(share_id, extend={"new_size": 3})
    becomes(house, share_id, "extending_error")
    assert becomes(house, share_id, "available")["size"] == 3
    house.empty()


def test_tries_become_rarer(house: House) -> None:
    house.cloud.faults.fail("create_volume", "OutOfCapacity", times=None)
    mark = house.cloud.journal.mark()
    share_id = house.create()
    becomes(house, share_id, "error")
    time.sleep(4)
    tries = len(house.cloud.journal.calls("create_volume", since=mark))
    assert 3 <= tries <= 6  # after 0.2, 0.4, 0.8, 1.6 s, and not at each of twenty passes
    house.cloud.faults.clear()
    becomes(house, share_id, "available")  # one that is just being tried can't be deleted
    house.empty()


def test_a_state_that_an_administrator_has_set_stays(house: House) -> None:
    share_id = house.create()
    becomes(house, share_id, "available")
    for status in ("error", "extending_error", "error_deleting"):
        house.act(share_id, reset_status={"status": status})
        time.sleep(1)
        assert house.share(share_id)["status"] == status
    house.empty()


@pytest.mark.parametrize("room", [True, False])
def test_a_share_that_was_called_available_before_it_was_made_is_made(
    new_house: Callable[..., House], room: bool
) -> None:
    house = new_house(reconcile_interval=0.2)
    if not room:
        house.cloud.faults.fail("create_volume", "OutOfCapacity", times=None)
    share_id = house.create()
    house.act(share_id, reset_status={"status": "available"})
    copy = house.snapshot(share_id)
    house.start_worker()
    if not room:
        becomes(house, share_id, "error")
        house.cloud.faults.clear()
    where = f"/shares/{share_id}/export_locations"
    house.until(lambda: house.call("GET", where)["export_locations"], "an export")
    becomes(house, share_id, "available")
    house.allow(share_id)
    house.settled(share_id)
    house.mount(share_id).write("data", b"kept")
    house.until(
        lambda: house.call("GET", f"/snapshots/{copy}")["snapshot"]["status"] != "creating",
        "the snapshot",
    )
    house.call("DELETE", f"/snapshots/{copy}")
    house.gone("snapshots")
    house.empty()


def test_a_share_network_that_could_not_be_deleted_is_deleted_later(house: House) -> None:
    network = house.network()
    house.until(lambda: house.cloud.networks.list_networks(), "its network in the cloud")
    house.cloud.faults.fail("delete_network", "OutOfCapacity", times=2)
    house.call("DELETE", f"/share-networks/{network}")
    house.until(lambda: told(house, network), "the message")
    house.until(lambda: not house.cloud.leaks(), "an empty cloud")
    assert house.call("GET", "/share-networks")["share_networks"] == []


def test_users_read_what_holds_up_their_share(house: House) -> None:
    # three times: the first, while the instance boots, holds up nothing
    house.cloud.faults.fail("attach_volume", message="compute: Service Unavailable", times=3)
    share_id = house.create()
    becomes(house, share_id, "available")
    [text] = told(house, share_id)
    assert "tried again by itself. The cloud does not answer at the moment." in text
    assert "Service Unavailable" not in text


def test_users_read_what_holds_up_their_share_server(house: House) -> None:
    # both ports, asked for at the same time, in two tries
    house.cloud.faults.fail("create_port", message="network: Service Unavailable", times=4)
    share_id = house.create()
    becomes(house, share_id, "available")
    [text] = told(house, share_id)
    assert "tried again by itself. The cloud does not answer at the moment." in text


def test_one_failure_that_passes_is_no_news(house: House) -> None:
    house.cloud.faults.fail("attach_volume", message="compute: Service Unavailable")
    share_id = house.create()
    becomes(house, share_id, "available")
    assert told(house, share_id) == []


def test_users_read_that_a_volume_was_detached_or_an_instance_lost(house: House) -> None:
    share_id = house.create()
    becomes(house, share_id, "available")
    [volume] = house.cloud.volumes.list_volumes()
    assert volume.instance_id
    house.cloud.compute.detach_volume(volume.instance_id, volume.id)
    house.until(lambda: house.cloud.volumes.list_volumes() == [volume], "the volume's return")
    house.until(lambda: any("had been detached" in text for text in told(house, share_id)), "news")
    house.cloud.delete_instance(volume.instance_id)
    house.until(lambda: any("was lost" in text for text in told(house, share_id)), "more news")
    assert volume.id not in str(told(house, share_id))
    assert volume.instance_id not in str(told(house, share_id))


def test_an_instance_that_can_not_be_replaced_is_told_of(house: House) -> None:
    share_id = house.create()
    becomes(house, share_id, "available")
    [instance] = house.cloud.compute.list_instances()
    house.cloud.faults.fail("wait_for_instance", "CloudError", NO_HOST, times=2)
    house.cloud.delete_instance(instance.id)
    served = "can't be served at the moment. The service instance did not become active."
    house.until(lambda: any(served in text for text in told(house, share_id)), "the news")
    assert house.share(share_id)["status"] == "available"
    house.until(lambda: any("was lost" in text for text in told(house, share_id)), "the next one")


@pytest.mark.slow
def test_a_cloud_that_is_away_makes_no_server_unhealthy_and_no_worker_dead(house: House) -> None:
    share_id = house.create()
    becomes(house, share_id, "available")
    mark = house.cloud.journal.mark()
    house.cloud.faults.fail("get_instance", times=None)
    house.cloud.faults.fail("pools", times=None)
    house.until(lambda: len(house.cloud.journal.calls("get_instance", since=mark)) > 3, "passes")
    other = house.create()
    becomes(house, other, "available")
    assert len(house.call("GET", "/share-servers")["share_servers"]) == 1
    assert told(house, share_id) == told(house, other) == []
    house.until(lambda: house.cloud.journal.calls("pools", since=mark), "a look at the pools")
    seen = beat(house)
    house.until(lambda: beat(house) > seen, "another sign of life")


def test_a_deletion_by_force_counts_more_than_what_was_going_on(house: House) -> None:
    house.cloud.faults.delay("attach_volume", 1)
    share_id = house.create()
    house.until(lambda: house.cloud.journal.calls("create_volume"), "the volume")
    house.act(share_id, force_delete={})
    house.gone("shares")
    house.empty()


def test_warm_instances_that_never_came_to_be_leave_nothing(
    new_house: Callable[..., House],
) -> None:
    house = new_house(reconcile_interval=0.2, warm_service_instances=1)
    house.cloud.faults.fail("wait_for_instance", "CloudError", NO_HOST, times=3)
    house.start_worker()

    def states() -> list[str]:
        servers = house.call("GET", "/share-servers")["share_servers"]
        return [server["status"] for server in servers]

    house.until(lambda: states() == ["active"], "one warm instance and nothing else")
    assert len(house.cloud.compute.list_instances()) == 1
    assert len(house.cloud.networks.list_ports()) == 1
