"""A user's day on the simulated cloud, through the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.memory_deployment import CLIENT, MemoryDeployment
from harness.wait import wait


def test_a_share_is_made_filled_grown_copied_and_removed(deployment: MemoryDeployment) -> None:
    share_id = deployment.create()
    assert deployment.settled(share_id)["status"] == "available"
    deployment.allow(share_id)
    deployment.settled(share_id)
    mount = deployment.mount(share_id)
    mount.write("data", b"precious")

    deployment.act(share_id, extend={"new_size": 2})
    assert deployment.settled(share_id)["size"] == 2
    assert mount.read("data") == b"precious"

    snapshot_id = deployment.snapshot(share_id)
    deployment.until(
        lambda: (
            deployment.call("GET", f"/snapshots/{snapshot_id}")["snapshot"]["status"] == "available"
        ),
        "the snapshot",
    )
    copy_id = deployment.create(size=3, snapshot_id=snapshot_id)
    assert deployment.settled(copy_id)["status"] == "available"
    deployment.allow(copy_id, level="ro")
    deployment.settled(copy_id)
    copy = deployment.mount(copy_id)
    assert copy.read("data") == b"precious"
    with pytest.raises(OSError, match="Read-only"):
        copy.write("data", b"changed")
    deployment.empty()


def test_a_rule_taken_away_shuts_the_client_out_and_no_other(deployment: MemoryDeployment) -> None:
    share_id = deployment.create()
    deployment.settled(share_id)
    first = deployment.allow(share_id, CLIENT)
    deployment.allow(share_id, f"{CLIENT[:-1]}")  # 10.0.0.20 is not 10.0.0.201
    deployment.settled(share_id)
    deployment.act(share_id, deny_access={"access_id": first})
    deployment.until(lambda: CLIENT not in deployment.rules(share_id), "the rule to go")
    assert not deployment.cloud.client(CLIENT).may_mount(deployment.export(share_id))
    assert deployment.cloud.client(CLIENT[:-1]).may_mount(deployment.export(share_id))


def test_many_shares_at_once_share_one_server(deployment: MemoryDeployment) -> None:
    wanted = [deployment.create() for _ in range(20)]
    assert {deployment.settled(share_id)["status"] for share_id in wanted} == {"available"}
    assert len(deployment.call("GET", "/share-servers")["share_servers"]) == 1
    deployment.empty()


def test_volumes_are_plugged_in_before_their_instance_answers(deployment: MemoryDeployment) -> None:
    deployment.cloud.faults.delay("open_guest", 2)
    made = [deployment.create() for _ in range(3)]

    def attached() -> list[str]:
        """The volumes of shares that were attached, once for each call."""
        calls = deployment.cloud.journal.calls("attach_volume")
        ids = [volume.id for volume in deployment.share_volumes()]
        return sorted(each for call in calls for each in ids if each in call.about)

    deployment.until(lambda: len(attached()) == 3, "all volumes")
    [server] = deployment.call("GET", "/share-servers")["share_servers"]
    assert server["status"] == "creating"
    for share_id in made:
        assert deployment.settled(share_id)["status"] == "available"
    assert len(set(attached())) == len(attached()) == 3


def test_a_full_server_gets_a_neighbour(new_deployment: Callable[..., MemoryDeployment]) -> None:
    deployment = new_deployment(max_shares_per_share_server=3)
    deployment.start_worker()
    wanted = [deployment.create() for _ in range(7)]
    assert {deployment.settled(share_id)["status"] for share_id in wanted} == {"available"}
    assert len(deployment.call("GET", "/share-servers")["share_servers"]) == 3
    deployment.empty()


def test_a_cloud_without_room_says_so_and_leaks_nothing(deployment: MemoryDeployment) -> None:
    deployment.cloud.faults.fail("create_volume", "OutOfCapacity", times=None)
    share_id = deployment.create()
    assert deployment.settled(share_id)["status"] == "error"
    [message] = deployment.call("GET", "/messages")["messages"]
    assert message["resource_id"] == share_id
    assert "room" in message["user_message"]
    deployment.cloud.faults.clear()
    deployment.empty()


def test_a_warm_instance_is_taken_and_another_one_boots(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    deployment = new_deployment(warm_service_instances=1, reconcile_interval=1)
    deployment.start_worker()

    def servers() -> list[Any]:
        return list(deployment.call("GET", "/share-servers")["share_servers"])

    [warm] = deployment.until(
        lambda: [s for s in servers() if s["status"] == "active"], "a warm one"
    )
    mark = deployment.cloud.journal.mark()
    share_id = deployment.create()
    assert deployment.settled(share_id)["status"] == "available"
    deployment.allow(share_id)
    deployment.settled(share_id)
    deployment.mount(share_id).write("data", b"precious")
    assert deployment.share(share_id)["share_server_id"] == warm["id"]
    owner = f"share_server/{warm['id']}"
    assert not deployment.cloud.journal.calls("create_instance", about=owner, since=mark)
    deployment.until(lambda: len(servers()) == 2, "the next warm one")


@pytest.mark.parametrize("accident", ["it is gone", "it can't be started"])
def test_a_mounted_client_waits_while_its_instance_is_replaced(
    new_deployment: Callable[..., MemoryDeployment], accident: str
) -> None:
    deployment = new_deployment(reconcile_interval=0.1)
    deployment.start_worker()
    shares = [deployment.create() for _ in range(3)]
    mounts = []
    for share_id in shares:
        deployment.settled(share_id)
        deployment.allow(share_id)
        deployment.settled(share_id)
        mounts.append(deployment.mount(share_id))
        mounts[-1].write("data", b"precious")
    [old] = deployment.cloud.compute.list_instances()
    if accident == "it is gone":
        deployment.cloud.delete_instance(old.id)
    else:
        deployment.cloud.faults.fail("reboot_instance", "CloudError", times=None)
        deployment.cloud.kill_instance(old.id)

    def read() -> bool:
        """True once all are served again; any error but a time-out fails a user's program."""
        try:
            return [mount.read("data") for mount in mounts] == [b"precious"] * 3
        except TimeoutError:
            return False

    wait("all to be served again", read, 20)
    [new] = deployment.cloud.compute.list_instances()
    assert new.id != old.id


def test_one_slow_volume_does_not_delay_the_others(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    """An instance is lost, and the agent needs long for each of its four shares."""
    deployment = new_deployment(reconcile_interval=0.3)
    deployment.start_worker()
    shares = [deployment.create() for _ in range(4)]
    for share_id in shares:
        deployment.settled(share_id)
        deployment.allow(share_id)
    for share_id in shares:
        deployment.settled(share_id)
    [old] = deployment.cloud.compute.list_instances()
    journal = deployment.cloud.journal
    mark = journal.mark()
    deployment.cloud.faults.delay("apply_share", 2.0, times=4)
    deployment.cloud.delete_instance(old.id)
    deployment.until(
        lambda: len(journal.calls("apply_share", since=mark)) >= 4, "all to be served again"
    )
    began = [call.time for call in journal.calls("apply_share", since=mark)][:4]
    assert began[-1] - began[0] < 2.0
