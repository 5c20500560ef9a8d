"""Several snapshots of one share at once, taken by real workers, on both databases."""

from __future__ import annotations

import pytest

from atoll.cloud.memory import Mount
from tests.lifecycle.house import House


@pytest.fixture
def share_id(house: House) -> str:
    share_id = house.create()
    house.settled(share_id)
    house.allow(share_id)
    house.settled(share_id)
    return share_id


@pytest.fixture
def mount(house: House, share_id: str) -> Mount:
    mount = house.mount(share_id)
    assert isinstance(mount, Mount)
    mount.write("data", b"precious")
    return mount


def statuses(house: House) -> list[str]:
    listed = house.call("GET", "/snapshots/detail")["snapshots"]
    return [snapshot["status"] for snapshot in listed]


@pytest.mark.parametrize("workers", [1, 2])
def test_ten_snapshots_of_a_share_at_once_are_each_taken_frozen(
    house: House, share_id: str, mount: Mount, workers: int
) -> None:
    for _ in range(workers - 1):
        house.start_worker()
    house.cloud.faults.delay("create_snapshot", 0.05, times=None)
    for _ in range(10):
        house.snapshot(share_id)
    house.until(lambda: set(statuses(house)) == {"available"}, "all snapshots")
    assert len(statuses(house)) == 10
    assert house.cloud.accidents() == []
    # Nobody was refused: each waited for its turn.
    assert house.cloud.journal.count("freeze_share") == 10
    mount.write("data", b"thawed")


def test_a_snapshot_waits_while_the_share_is_frozen_for_another(
    house: House, share_id: str, mount: Mount
) -> None:
    """A freeze that nobody undoes, as of a worker that has died, ends by itself."""
    [server] = house.call("GET", "/share-servers")["share_servers"]
    assert server["status"] == "active"
    house.cloud.faults.lose("thaw_share")
    house.cloud.faults.delay("create_snapshot", 0.3, times=None)
    first = house.snapshot(share_id)
    second = house.snapshot(share_id)
    house.until(lambda: set(statuses(house)) == {"available"}, "both snapshots")
    assert first != second
    assert house.cloud.accidents() == []
    mount.write("data", b"thawed")
