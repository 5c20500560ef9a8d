"""The worker is killed at every cloud and guest call of every verb; another one finishes its work.

Each verb runs once undisturbed to count its calls. Then, for each of them, in a deployment of its
own, the worker is killed just before or just after the call's effect; a second worker takes over
when the lease ends. What the user asked for must come true, with nothing doubled and, after all is
deleted, nothing left.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from atoll.cli import servers
from harness.memory_deployment import CLIENT, MemoryDeployment

pytestmark = [pytest.mark.slow, pytest.mark.both_databases, pytest.mark.timeout(600)]

When = Literal["before", "after"]

AT_ONCE = 6


@dataclass
class Stage:
    """A deployment, and what was made in it before the verb."""

    deployment: MemoryDeployment
    share_id: str = ""
    snapshot_id: str = ""
    made: list[str] = field(default_factory=list)


def with_share(deployment: MemoryDeployment) -> Stage:
    """A share with data in it and a client let in."""
    stage = Stage(deployment, deployment.create())
    deployment.settled(stage.share_id)
    deployment.allow(stage.share_id)
    deployment.settled(stage.share_id)
    deployment.mount(stage.share_id).write("data", b"precious")
    return stage


def with_snapshot(deployment: MemoryDeployment) -> Stage:
    """That, and a snapshot of it."""
    stage = with_share(deployment)
    take_snapshot(stage)
    taken(stage)
    return stage


def with_empty_server(deployment: MemoryDeployment) -> Stage:
    """A share network whose share server has no share any more."""
    stage = with_share(deployment)
    delete_share(stage)
    deployment.gone("shares")
    return stage


def first_share(stage: Stage) -> None:
    stage.share_id = stage.deployment.create()


def another_share(stage: Stage) -> None:
    stage.made.append(stage.deployment.create())


def share_of_snapshot(stage: Stage) -> None:
    stage.made.append(stage.deployment.create(size=2, snapshot_id=stage.snapshot_id))


def allow(stage: Stage) -> None:
    stage.deployment.allow(stage.share_id, "10.0.0.77", "ro")


def deny(stage: Stage) -> None:
    [rule] = stage.deployment.call("GET", f"/share-access-rules?share_id={stage.share_id}")[
        "access_list"
    ]
    stage.deployment.act(stage.share_id, deny_access={"access_id": rule["id"]})


def extend(stage: Stage) -> None:
    stage.deployment.act(stage.share_id, extend={"new_size": 3})


def take_snapshot(stage: Stage) -> None:
    stage.snapshot_id = stage.deployment.snapshot(stage.share_id)


def delete_snapshot(stage: Stage) -> None:
    stage.deployment.call("DELETE", f"/snapshots/{stage.snapshot_id}")


def delete_share(stage: Stage) -> None:
    stage.deployment.call("DELETE", f"/shares/{stage.share_id}")


def upgrade(stage: Stage) -> None:
    stage.deployment.cloud.images.publish()
    [server] = stage.deployment.call("GET", "/share-servers")["share_servers"]
    servers.ask(stage.deployment.database, server["id"])


def delete_network(stage: Stage) -> None:
    for network in stage.deployment.call("GET", "/share-networks")["share_networks"]:
        stage.deployment.call("DELETE", f"/share-networks/{network['id']}")


# --- what must be true in the end ----------------------------------------------------------------


def served(stage: Stage) -> None:
    deployment = stage.deployment
    for share_id in [stage.share_id, *stage.made]:
        assert deployment.settled(share_id)["status"] == "available"
    instances = deployment.cloud.compute.list_instances()
    volumes = deployment.share_volumes()
    assert len(instances) == 1
    assert len(volumes) == 1 + len(stage.made)
    assert {volume.instance_id for volume in volumes} == {instances[0].id}


def readable(stage: Stage) -> None:
    served(stage)
    assert stage.deployment.mount(stage.share_id).read("data") == b"precious"


def allowed(stage: Stage) -> None:
    readable(stage)
    assert stage.deployment.rules(stage.share_id) == {CLIENT: "active", "10.0.0.77": "active"}
    assert stage.deployment.cloud.client("10.0.0.77").may_mount(
        stage.deployment.export(stage.share_id)
    )


def denied(stage: Stage) -> None:
    stage.deployment.until(lambda: not stage.deployment.rules(stage.share_id), "the rule to go")
    assert not stage.deployment.cloud.client(CLIENT).may_mount(
        stage.deployment.export(stage.share_id)
    )


def extended(stage: Stage) -> None:
    readable(stage)
    assert stage.deployment.share(stage.share_id)["size"] == 3
    assert stage.deployment.mount(stage.share_id).size_gib() == 3


def upgraded(stage: Stage) -> None:
    def newest() -> bool:
        listed = servers.listed(stage.deployment.settings, stage.deployment.database)
        [server] = [each for each in listed if not each.stands_in_for]
        return server.is_current

    stage.deployment.until(newest, "an instance of the newest image")
    readable(stage)


def taken(stage: Stage) -> None:
    deployment = stage.deployment
    path = f"/snapshots/{stage.snapshot_id}"
    deployment.until(
        lambda: deployment.call("GET", path)["snapshot"]["status"] == "available", "the snapshot"
    )
    assert len(deployment.cloud.volumes.list_snapshots()) == 1
    deployment.mount(stage.share_id).write("more", b"not frozen")


def copied(stage: Stage) -> None:
    readable(stage)
    [copy] = stage.made
    stage.deployment.allow(copy)
    stage.deployment.settled(copy)
    assert stage.deployment.mount(copy).read("data") == b"precious"
    assert stage.deployment.mount(copy).size_gib() == 2


def no_snapshot(stage: Stage) -> None:
    stage.deployment.gone("snapshots")
    assert not stage.deployment.cloud.volumes.list_snapshots()
    readable(stage)


def no_share(stage: Stage) -> None:
    stage.deployment.gone("shares")
    stage.deployment.until(lambda: not stage.deployment.share_volumes(), "no volumes")


def nothing(stage: Stage) -> None:
    stage.deployment.gone("share-networks")
    stage.deployment.until(lambda: not stage.deployment.cloud.leaks(), "an empty cloud")


Step = Callable[[Stage], None]
VERBS: dict[str, tuple[Callable[[MemoryDeployment], Stage], Step, Step]] = {
    "create the first share": (Stage, first_share, served),
    "create another share": (with_share, another_share, readable),
    "allow": (with_share, allow, allowed),
    "deny": (with_share, deny, denied),
    "extend": (with_share, extend, extended),
    "snapshot": (with_share, take_snapshot, taken),
    "share of a snapshot": (with_snapshot, share_of_snapshot, copied),
    "delete a snapshot": (with_snapshot, delete_snapshot, no_snapshot),
    "delete a share": (with_share, delete_share, no_share),
    "upgrade the image": (with_share, upgrade, upgraded),
    "delete the network": (with_empty_server, delete_network, nothing),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_every_call(
    new_deployment: Callable[..., MemoryDeployment], verb: str, when: When
) -> None:
    first_deployment = new_deployment()
    if when == "before" and not first_deployment.database.is_sqlite:
        pytest.skip("before a call is after the one before it: once, on SQLite, is enough")
    _kill_at_every_call(new_deployment, _calls(first_deployment, verb), verb, when)


@pytest.mark.parametrize("verb", ["create the first share", "delete the network"])
def test_killed_at_every_call_behind_the_users_router(
    new_deployment: Callable[..., MemoryDeployment], verb: str
) -> None:
    """The layout with service subnets, which a router of the user's is plugged into."""
    options = {"connect_share_server_to_tenant_network": False}
    first_deployment = new_deployment(**options)
    if not first_deployment.database.is_sqlite:
        pytest.skip("what differs is the cloud's, not the database's: once, on SQLite, is enough")
    _kill_at_every_call(new_deployment, _calls(first_deployment, verb), verb, "after", **options)


MAY_DIFFER = 4
"""So large a part of its calls, a quarter, a verb may do without: operations that work side by side
look at what the others have done, and how often depends on who is quicker, and on a busy machine
also on how long each takes."""


def _kill_at_every_call(
    new_deployment: Callable[..., MemoryDeployment],
    calls: int,
    verb: str,
    when: When,
    **options: Any,
) -> None:
    assert calls > 0

    def kill_at(nth: int) -> None:
        deployment = new_deployment(**options)
        first = deployment.start_worker()
        prepare, act, check = VERBS[verb]
        stage = prepare(deployment)
        deployment.cloud.faults.kill(nth=nth, when=when)
        act(stage)
        is_last = nth > calls - max(3, calls // MAY_DIFFER)
        first.join(timeout=10 if is_last else 60)
        [kill] = deployment.cloud.faults.current()
        if is_last and first.exitcode is None and kill.seen < nth:
            deployment.cloud.faults.clear()  # what is looked at now are calls, too, and our own
            first.join(timeout=0.5)
            if not first.is_alive():  # the call was made between the two lines before
                deployment.start_worker()
            check(stage)
            deployment.close()
            return
        first.join(timeout=60)  # the call may have been made while this was looked at
        # Not its exit code: another thread, starting a worker, may have taken that meanwhile.
        assert first.exitcode is not None, f"{verb}: lives on {when} call {nth} of {calls}"
        assert kill.seen >= nth, f"{verb}: no kill {when} call {nth} of {calls}"
        deployment.start_worker()
        check(stage)
        deployment.empty()
        deployment.close()

    # Most of the time goes in waiting for leases to end, so several deployments wait at once.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(kill_at, range(1, calls + 1)))


@pytest.mark.parametrize("call", ["create_volume", "attach_volume", "apply_share"])
def test_frozen_overtaken_and_woken(
    new_deployment: Callable[..., MemoryDeployment], call: str
) -> None:
    stage, zombie = _frozen_at(new_deployment, call)
    deployment = stage.deployment
    deployment.start_worker()
    readable(stage)
    [copy] = stage.made
    deployment.allow(copy)
    deployment.settled(copy)
    deployment.mount(copy).write("data", b"written meanwhile")
    os.kill(zombie, signal.SIGCONT)
    deployment.until(lambda: not _is_stopped(zombie), "the zombie to go on")
    time.sleep(1)
    readable(stage)
    assert deployment.mount(copy).read("data") == b"written meanwhile"
    assert not deployment.cloud.accidents()
    deployment.empty()


def test_what_a_zombie_makes_for_a_deleted_share_is_removed(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    stage, zombie = _frozen_at(new_deployment, "create_volume")
    deployment = stage.deployment
    deployment.start_worker()
    readable(stage)
    deployment.call("DELETE", f"/shares/{stage.made[0]}")
    deployment.until(
        lambda: len(deployment.call("GET", "/shares")["shares"]) == 1, "the share to go"
    )
    mark = deployment.cloud.journal.mark()
    os.kill(zombie, signal.SIGCONT)
    deployment.until(
        lambda: deployment.cloud.journal.calls("delete_volume", since=mark), "the repair"
    )
    deployment.empty()


def _frozen_at(new_deployment: Callable[..., MemoryDeployment], call: str) -> tuple[Stage, int]:
    """A deployment whose worker is stopped in a call for another share; and its process id.

    A process that is stopped inside a transaction on SQLite holds everybody up until it goes on,
    and no engine can help that. So the worker gets time to be idle but for this call, and where
    its lease was being renewed just then, another deployment is tried.
    """
    for _ in range(3):
        deployment = new_deployment(reconcile_interval=1)
        worker = deployment.start_worker()
        stage = with_share(deployment)
        deployment.cloud.faults.delay(call, 0.3)
        deployment.cloud.faults.freeze(call, when="before")
        another_share(stage)
        assert worker.pid is not None
        pid = worker.pid
        deployment.until(lambda: _is_stopped(pid), "the worker to freeze")  # noqa: B023 - used at once
        if deployment.writable():
            return stage, pid
        deployment.close()
    raise AssertionError("the worker was in a transaction each time")


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")


def _calls(deployment: MemoryDeployment, verb: str) -> int:
    """How many cloud and guest calls the verb makes when nothing goes wrong."""
    prepare, act, check = VERBS[verb]
    deployment.start_worker()
    stage = prepare(deployment)
    mark = deployment.cloud.journal.mark()
    act(stage)
    check(stage)
    worker = deployment.cloud.journal.calls(since=mark)
    mine = os.getpid()
    return sum(call.pid != mine for call in worker)
