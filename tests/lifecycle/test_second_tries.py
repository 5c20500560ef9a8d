"""What failed is tried again when its cause may be gone, and users read what they wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from atoll.engine.queue import enqueue
from atoll.model.keys import share_key
from harness.memory_deployment import MemoryDeployment

NO_HOST = "No valid host was found."


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """A deployment that looks after what it has all the time."""
    made = new_deployment(reconcile_interval=0.2)
    made.start_worker()
    return made


def becomes(deployment: MemoryDeployment, share_id: str, status: str) -> dict[str, Any]:
    """The share, once it has this status."""

    def look() -> dict[str, Any] | None:
        share = deployment.share(share_id)
        return share if share["status"] == status else None

    share: dict[str, Any] = deployment.until(look, f"status {status}")
    return share


def told(deployment: MemoryDeployment, resource_id: str) -> list[str]:
    """What the user was told of it."""
    messages = deployment.call("GET", "/messages")["messages"]
    return [m["user_message"] for m in messages if m["resource_id"] == resource_id]


def beat(deployment: MemoryDeployment) -> str:
    """When the worker gave its last sign of life, "" for its first; it still sees its pool."""
    [pool] = deployment.call("GET", "/scheduler-stats/pools")["pools"]
    assert pool["name"]
    [service] = deployment.call("GET", "/services")["services"]
    return service["updated_at"] or ""


def test_a_share_that_found_no_room_is_made_when_there_is_room(
    deployment: MemoryDeployment,
) -> None:
    deployment.cloud.faults.fail("create_volume", "OutOfCapacity", times=None)
    share_id = deployment.create()
    becomes(deployment, share_id, "error")
    mark = deployment.cloud.journal.mark()
    deployment.until(
        lambda: deployment.cloud.journal.calls("create_volume", since=mark), "another try"
    )
    becomes(deployment, share_id, "error")
    deployment.cloud.faults.clear()
    becomes(deployment, share_id, "available")
    assert len(told(deployment, share_id)) == 1
    deployment.empty()


def test_a_share_server_that_found_no_host_is_made_when_there_is_one(
    deployment: MemoryDeployment,
) -> None:
    deployment.cloud.faults.fail("wait_for_instance", "CloudError", NO_HOST, times=3)
    share_id = deployment.create()
    becomes(deployment, share_id, "error")
    assert "The service instance did not become active." in told(deployment, share_id)[0]
    becomes(deployment, share_id, "available")
    assert len(told(deployment, share_id)) == 1
    assert len(deployment.call("GET", "/share-servers")["share_servers"]) == 1
    assert len(deployment.cloud.compute.list_instances()) == 1
    deployment.empty()


def test_a_failure_counts_also_if_more_was_requested_meanwhile(
    deployment: MemoryDeployment,
) -> None:
    share_id = deployment.create()
    becomes(deployment, share_id, "available")
    deployment.cloud.faults.delay("extend_volume", 1)
    deployment.cloud.faults.fail("extend_volume", "OutOfCapacity")
    deployment.act(share_id, extend={"new_size": 2})
    deployment.until(lambda: deployment.cloud.journal.calls("extend_volume"), "the extension")
    with deployment.database.begin() as connection:  # as its share server's operation does
        enqueue(connection, share_key(share_id))
    becomes(deployment, share_id, "extending_error")
    assert becomes(deployment, share_id, "available")["size"] == 2


def test_a_share_that_could_not_grow_grows_later(deployment: MemoryDeployment) -> None:
    share_id = deployment.create()
    becomes(deployment, share_id, "available")
    deployment.cloud.faults.fail("extend_volume", "OutOfCapacity", times=2)
    deployment.act(share_id, extend={"new_size": 3})
    becomes(deployment, share_id, "extending_error")
    assert becomes(deployment, share_id, "available")["size"] == 3
    deployment.empty()


def test_tries_become_rarer(deployment: MemoryDeployment) -> None:
    deployment.cloud.faults.fail("create_volume", "OutOfCapacity", times=None)
    mark = deployment.cloud.journal.mark()
    share_id = deployment.create()
    becomes(deployment, share_id, "error")
    time.sleep(4)
    tries = len(deployment.cloud.journal.calls("create_volume", about=share_id, since=mark))
    assert 3 <= tries <= 6  # after 0.2, 0.4, 0.8, 1.6 s, and not at each of twenty passes
    deployment.cloud.faults.clear()
    becomes(deployment, share_id, "available")  # one that is just being tried can't be deleted
    deployment.empty()


def test_a_state_that_an_administrator_has_set_stays(deployment: MemoryDeployment) -> None:
    share_id = deployment.create()
    becomes(deployment, share_id, "available")
    for status in ("error", "extending_error", "error_deleting"):
        deployment.act(share_id, reset_status={"status": status})
        time.sleep(1)
        assert deployment.share(share_id)["status"] == status
    deployment.empty()


@pytest.mark.parametrize("room", [True, False])
def test_a_share_that_was_called_available_before_it_was_made_is_made(
    new_deployment: Callable[..., MemoryDeployment], room: bool
) -> None:
    deployment = new_deployment(reconcile_interval=0.2)
    if not room:
        deployment.cloud.faults.fail("create_volume", "OutOfCapacity", times=None)
    share_id = deployment.create()
    deployment.act(share_id, reset_status={"status": "available"})
    copy = deployment.snapshot(share_id)
    deployment.start_worker()
    if not room:
        becomes(deployment, share_id, "error")
        deployment.cloud.faults.clear()
    where = f"/shares/{share_id}/export_locations"
    deployment.until(lambda: deployment.call("GET", where)["export_locations"], "an export")
    becomes(deployment, share_id, "available")
    deployment.allow(share_id)
    deployment.settled(share_id)
    deployment.mount(share_id).write("data", b"kept")
    deployment.until(
        lambda: deployment.call("GET", f"/snapshots/{copy}")["snapshot"]["status"] != "creating",
        "the snapshot",
    )
    deployment.call("DELETE", f"/snapshots/{copy}")
    deployment.gone("snapshots")
    deployment.empty()


def test_a_share_network_that_could_not_be_deleted_is_deleted_later(
    deployment: MemoryDeployment,
) -> None:
    network = deployment.network()
    detail = f"/share-networks/{network}"
    deployment.until(
        lambda: deployment.call("GET", detail, version="2.50")["share_network"]["cidr"], "the net"
    )
    deployment.cloud.faults.fail("delete_network", "OutOfCapacity", times=2)
    deployment.call("DELETE", detail)
    deployment.until(lambda: told(deployment, network), "the message")
    deployment.until(lambda: not deployment.cloud.leaks(), "an empty cloud")
    assert deployment.call("GET", "/share-networks")["share_networks"] == []


def told_once(deployment: MemoryDeployment, call: str, fault: str) -> str:
    """What a user is told while this call fails again and again; it must be said only once."""
    deployment.cloud.faults.fail(call, message=fault, times=None)
    share_id = deployment.create()
    deployment.until(lambda: told(deployment, share_id), "the news")
    deployment.cloud.faults.clear()
    becomes(deployment, share_id, "available")
    [text] = told(deployment, share_id)
    return text


def test_users_read_what_holds_up_their_share(deployment: MemoryDeployment) -> None:
    text = told_once(deployment, "attach_volume", "compute: Service Unavailable")
    assert "tried again by itself. The cloud does not answer at the moment." in text
    assert "Service Unavailable" not in text


def test_users_read_what_holds_up_their_share_server(deployment: MemoryDeployment) -> None:
    text = told_once(deployment, "create_port", "network: Service Unavailable")
    assert "tried again by itself. The cloud does not answer at the moment." in text


def test_one_failure_that_passes_is_no_news(deployment: MemoryDeployment) -> None:
    deployment.cloud.faults.fail("attach_volume", message="compute: Service Unavailable")
    share_id = deployment.create()
    becomes(deployment, share_id, "available")
    assert told(deployment, share_id) == []


def test_users_read_that_a_volume_was_detached_or_an_instance_lost(
    deployment: MemoryDeployment,
) -> None:
    share_id = deployment.create()
    becomes(deployment, share_id, "available")
    [volume] = deployment.share_volumes()
    assert volume.instance_id
    deployment.cloud.compute.detach_volume(volume.instance_id, volume.id)
    deployment.until(lambda: deployment.share_volumes() == [volume], "the volume's return")
    deployment.until(
        lambda: any("had been detached" in text for text in told(deployment, share_id)), "news"
    )
    deployment.cloud.delete_instance(volume.instance_id)
    deployment.until(
        lambda: any("was lost" in text for text in told(deployment, share_id)), "more news"
    )
    assert volume.id not in str(told(deployment, share_id))
    assert volume.instance_id not in str(told(deployment, share_id))


def test_an_instance_that_can_not_be_replaced_is_told_of(deployment: MemoryDeployment) -> None:
    share_id = deployment.create()
    becomes(deployment, share_id, "available")
    [instance] = deployment.cloud.compute.list_instances()
    deployment.cloud.faults.fail("wait_for_instance", "CloudError", NO_HOST, times=2)
    deployment.cloud.delete_instance(instance.id)
    served = "can't be served at the moment. The service instance did not become active."
    deployment.until(lambda: any(served in text for text in told(deployment, share_id)), "the news")
    assert deployment.share(share_id)["status"] == "available"
    deployment.until(
        lambda: any("was lost" in text for text in told(deployment, share_id)), "the next one"
    )


@pytest.mark.slow
def test_a_cloud_that_is_away_makes_no_server_unhealthy_and_no_worker_dead(
    deployment: MemoryDeployment,
) -> None:
    share_id = deployment.create()
    becomes(deployment, share_id, "available")
    mark = deployment.cloud.journal.mark()
    deployment.cloud.faults.fail("get_instance", times=None)
    deployment.cloud.faults.fail("pools", times=None)
    deployment.until(
        lambda: len(deployment.cloud.journal.calls("get_instance", since=mark)) > 3, "passes"
    )
    other = deployment.create()
    becomes(deployment, other, "available")
    assert len(deployment.call("GET", "/share-servers")["share_servers"]) == 1
    assert told(deployment, share_id) == told(deployment, other) == []
    deployment.until(
        lambda: deployment.cloud.journal.calls("pools", since=mark), "a look at the pools"
    )
    seen = beat(deployment)
    deployment.until(lambda: beat(deployment) > seen, "another sign of life")


def test_a_deletion_by_force_counts_more_than_what_was_going_on(
    deployment: MemoryDeployment,
) -> None:
    deployment.cloud.faults.delay("attach_volume", 1)
    share_id = deployment.create()
    deployment.until(lambda: deployment.cloud.journal.calls("create_volume"), "the volume")
    deployment.act(share_id, force_delete={})
    deployment.gone("shares")
    deployment.empty()


def test_warm_instances_that_never_came_to_be_leave_nothing(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    deployment = new_deployment(reconcile_interval=0.2, warm_service_instances=1)
    deployment.cloud.faults.fail("wait_for_instance", "CloudError", NO_HOST, times=3)
    deployment.start_worker()

    def states() -> list[str]:
        servers = deployment.call("GET", "/share-servers")["share_servers"]
        return [server["status"] for server in servers]

    deployment.until(lambda: states() == ["active"], "one warm instance and nothing else")
    assert len(deployment.cloud.compute.list_instances()) == 1
    assert len(deployment.cloud.networks.list_ports()) == 1
