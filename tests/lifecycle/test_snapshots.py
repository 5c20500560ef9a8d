"""Several snapshots of one share at once, taken by real workers, on both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atoll.cloud.memory import Mount
from harness.memory_deployment import MemoryDeployment

pytestmark = pytest.mark.both_databases


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """Its lease is long, because work that is taken over from a slow worker is repeated."""
    made = new_deployment(lease=60.0)
    made.start_worker()
    return made


@pytest.fixture
def share_id(deployment: MemoryDeployment) -> str:
    share_id = deployment.create()
    deployment.settled(share_id)
    deployment.allow(share_id)
    deployment.settled(share_id)
    return share_id


@pytest.fixture
def mount(deployment: MemoryDeployment, share_id: str) -> Mount:
    mount = deployment.mount(share_id)
    assert isinstance(mount, Mount)
    mount.write("data", b"precious")
    return mount


def statuses(deployment: MemoryDeployment) -> list[str]:
    listed = deployment.call("GET", "/snapshots/detail")["snapshots"]
    return [snapshot["status"] for snapshot in listed]


@pytest.mark.parametrize("workers", [1, 2])
def test_ten_snapshots_of_a_share_at_once_are_each_taken_frozen(
    deployment: MemoryDeployment, share_id: str, mount: Mount, workers: int
) -> None:
    for _ in range(workers - 1):
        deployment.start_worker()
    deployment.cloud.faults.delay("create_snapshot", 0.05, times=None)
    for _ in range(10):
        deployment.snapshot(share_id)
    deployment.until(lambda: set(statuses(deployment)) == {"available"}, "all snapshots")
    assert len(statuses(deployment)) == 10
    assert deployment.cloud.accidents() == []
    # Nobody was refused: each waited for its turn.
    assert deployment.cloud.journal.count("freeze_share") == 10
    mount.write("data", b"thawed")


def test_a_snapshot_waits_while_the_share_is_frozen_for_another(
    deployment: MemoryDeployment, share_id: str, mount: Mount
) -> None:
    """A freeze that nobody undoes, as of a worker that has died, ends by itself."""
    [server] = deployment.call("GET", "/share-servers")["share_servers"]
    assert server["status"] == "active"
    deployment.cloud.faults.lose("thaw_share")
    deployment.cloud.faults.delay("create_snapshot", 0.3, times=None)
    first = deployment.snapshot(share_id)
    second = deployment.snapshot(share_id)
    deployment.until(lambda: set(statuses(deployment)) == {"available"}, "both snapshots")
    assert first != second
    assert deployment.cloud.accidents() == []
    mount.write("data", b"thawed")
