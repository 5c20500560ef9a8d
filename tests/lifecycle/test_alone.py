"""What goes wrong with one thing stops nothing for any other, in no part of the pass."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from atoll.db import owners
from harness.memory_deployment import ENDS, MemoryDeployment


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """Two share servers, with a share each."""
    made = new_deployment(reconcile_interval=0.3, max_shares_per_share_server=1)
    made.start_worker()
    return made


def instance_of(deployment: MemoryDeployment, share_id: str) -> str:
    server = deployment.call("GET", f"/shares/{share_id}")["share"]["share_server_id"]
    return str(deployment.call("GET", f"/share-servers/{server}")["share_server"]["identifier"])


def answers_nonsense(deployment: MemoryDeployment, instance_id: str) -> None:
    """Have looking at an instance end in an error that nobody has foreseen."""
    with closing(sqlite3.connect(deployment.settings.state_dir / "memory-cloud.sqlite")) as world:
        world.execute("UPDATE instances SET ready_at = 'soon' WHERE id = ?", (instance_id,))
        world.commit()


def leftover(deployment: MemoryDeployment) -> str:
    """A volume of a share that is gone; its id."""
    with deployment.database.begin() as connection:
        owners.remember(connection, "share/gone")
    return deployment.cloud.volumes.create_volume("share/gone", 1).id


def test_an_instance_that_nobody_can_look_at(deployment: MemoryDeployment) -> None:
    odd, good = deployment.create(), deployment.create()
    deployment.settled(odd)
    deployment.settled(good)
    instance, other = instance_of(deployment, odd), instance_of(deployment, good)
    assert instance != other
    answers_nonsense(deployment, instance)
    deployment.cloud.kill_instance(other)
    volume = leftover(deployment)
    deployment.until(
        lambda: deployment.cloud.volumes.get_volume(volume) is None, "the leftover to go"
    )
    deployment.allow(good)
    assert deployment.settled(good)["access_rules_status"] == "active"
    deployment.mount(good).write("data", b"served again")
    deleted = deployment.cloud.journal.calls(ENDS)  # nothing was known against the odd one
    assert not [call for call in deleted if instance in call.about]


@pytest.mark.parametrize("kind", ["instances", "snapshots", "networks"])
def test_a_kind_that_the_cloud_does_not_list(deployment: MemoryDeployment, kind: str) -> None:
    deployment.cloud.faults.fail(f"list_{kind}", "CloudError", times=None)
    volume = leftover(deployment)
    deployment.until(
        lambda: deployment.cloud.volumes.get_volume(volume) is None, "the leftover to go"
    )


def test_a_leftover_that_can_not_be_removed(deployment: MemoryDeployment) -> None:
    stuck = leftover(deployment)
    with deployment.database.begin() as connection:
        owners.remember(connection, "share/other")
    other = deployment.cloud.volumes.create_volume("share/other", 1).id
    deployment.cloud.faults.fail("delete_volume", "CloudError", times=None, about=stuck)
    deployment.until(lambda: deployment.cloud.volumes.get_volume(other) is None, "the other to go")
    assert deployment.cloud.volumes.get_volume(stuck) is not None
    deployment.cloud.faults.clear()
    deployment.until(lambda: deployment.cloud.volumes.get_volume(stuck) is None, "that one to go")
