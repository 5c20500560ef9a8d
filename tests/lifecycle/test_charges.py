"""What is charged is what the cloud provides, whatever happens at the same time."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from atoll.db.tables import shares, snapshots
from harness.memory_deployment import MemoryDeployment
from tests import rows

pytestmark = pytest.mark.both_databases

LIMIT = 60
"""GiB that the project may have, of shares and of snapshots."""


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    made = new_deployment(reconcile_interval=0.5)
    made.start_worker()
    return made


def limit(deployment: MemoryDeployment) -> None:
    project = deployment.project()
    wanted = {"gigabytes": LIMIT, "snapshot_gigabytes": LIMIT}
    deployment.call("PUT", f"/quota-sets/{project}", {"quota_set": wanted})


def used(deployment: MemoryDeployment) -> tuple[int, int]:
    """GiB of shares and of snapshots that the project is charged."""
    found = deployment.call("GET", f"/quota-sets/{deployment.project()}/detail")["quota_set"]
    return found["gigabytes"]["in_use"], found["snapshot_gigabytes"]["in_use"]


def provided(deployment: MemoryDeployment) -> tuple[int, int]:
    """The same as the cloud has it."""
    volumes = deployment.cloud.volumes
    return (
        sum(volume.size_gib for volume in deployment.share_volumes()),
        sum(copy.size_gib for copy in volumes.list_snapshots()),
    )


def snapshot_is(deployment: MemoryDeployment, snapshot_id: str, *statuses: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = deployment.call("GET", f"/snapshots/{snapshot_id}")["snapshot"]
        return found if found["status"] in statuses else None

    seen: dict[str, Any] = deployment.until(look, f"snapshot {snapshot_id} to be {statuses}")
    return seen


def share_is(deployment: MemoryDeployment, share_id: str, *statuses: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = deployment.share(share_id)
        return found if found["status"] in statuses else None

    seen: dict[str, Any] = deployment.until(look, f"share {share_id} to be {statuses}")
    return seen


def new_share(deployment: MemoryDeployment, **more: Any) -> str:
    share_id = deployment.create(**more)
    share_is(deployment, share_id, "available")
    return share_id


def test_a_share_does_not_grow_while_its_snapshots_are_taken(deployment: MemoryDeployment) -> None:
    share_id = new_share(deployment)
    deployment.cloud.faults.delay("create_snapshot", 1.0, times=None)
    copies = [deployment.snapshot(share_id) for _ in range(5)]
    deployment.act(share_id, extend={"new_size": 20})
    seen = [snapshot_is(deployment, copy, "available") for copy in copies]
    assert share_is(deployment, share_id, "available")["size"] == 20
    assert [(one["size"], one["share_size"]) for one in seen] == [(1, 1)] * 5
    assert used(deployment) == provided(deployment) == (20, 5)


def test_not_even_while_one_is_called_available_by_hand(deployment: MemoryDeployment) -> None:
    share_id = new_share(deployment)
    deployment.cloud.faults.delay("create_snapshot", 1.5)
    mark = deployment.cloud.journal.mark()
    copy = deployment.snapshot(share_id)
    deployment.until(
        lambda: deployment.cloud.journal.calls("create_snapshot", since=mark), "the copying"
    )
    deployment.call("POST", f"/snapshots/{copy}/action", {"reset_status": {"status": "available"}})
    deployment.act(share_id, extend={"new_size": 20})
    share_is(deployment, share_id, "available")
    snapshot_is(deployment, copy, "available")
    assert used(deployment) == provided(deployment) == (20, 1)


def test_a_copy_of_what_may_be_growing_is_charged_with_the_goal(
    deployment: MemoryDeployment,
) -> None:
    limit(deployment)
    share_id = new_share(deployment)
    deployment.cloud.faults.delay("apply_share", 1.5)
    mark = deployment.cloud.journal.mark()
    deployment.act(share_id, extend={"new_size": 40})
    deployment.until(
        lambda: deployment.cloud.journal.calls("extend_volume", since=mark), "the growing"
    )
    deployment.act(share_id, reset_status={"status": "available"})
    copy = deployment.snapshot(share_id)
    assert used(deployment) == (40, 40)
    with pytest.raises(AssertionError, match="413"):
        deployment.snapshot(share_id)
    snapshot_is(deployment, copy, "available")
    deployment.until(
        lambda: used(deployment) == provided(deployment) == (40, 40), "what is provided"
    )


def test_a_growth_that_failed_after_the_volume_had_grown_is_charged(
    deployment: MemoryDeployment,
) -> None:
    share_id = new_share(deployment)
    deployment.cloud.faults.fail("apply_share", "GuestError", times=None)
    deployment.act(share_id, extend={"new_size": 20})
    share_is(deployment, share_id, "extending_error")
    assert used(deployment) == provided(deployment) == (20, 0)
    deployment.act(share_id, reset_status={"status": "available"})
    deployment.cloud.faults.clear()
    deployment.until(lambda: deployment.share(share_id)["size"] == 20, "the size that it has")
    assert used(deployment) == provided(deployment)
    with pytest.raises(AssertionError, match="400"):
        deployment.act(share_id, extend={"new_size": 10})
    copy = deployment.snapshot(share_id)
    assert snapshot_is(deployment, copy, "available")["size"] == 20
    assert used(deployment) == provided(deployment) == (20, 20)


def test_a_growth_that_found_no_room_and_was_called_off_costs_nothing(
    deployment: MemoryDeployment,
) -> None:
    share_id = new_share(deployment)
    deployment.cloud.faults.fail("extend_volume", "OutOfCapacity", times=None)
    deployment.act(share_id, extend={"new_size": 20})
    share_is(deployment, share_id, "extending_error")
    assert used(deployment)[0] == 20  # it is tried again
    deployment.act(share_id, reset_status={"status": "available"})
    deployment.until(
        lambda: used(deployment) == provided(deployment) == (1, 0), "it to be called off"
    )
    deployment.cloud.faults.clear()
    deployment.act(share_id, extend={"new_size": 5})
    assert share_is(deployment, share_id, "available")["size"] == 5
    assert used(deployment) == provided(deployment) == (5, 0)


def test_a_deletion_by_force_is_not_forgotten_when_the_copy_is_done(
    deployment: MemoryDeployment,
) -> None:
    share_id = new_share(deployment)
    deployment.cloud.faults.delay("create_snapshot", 1.0)
    mark = deployment.cloud.journal.mark()
    copy = deployment.snapshot(share_id)
    deployment.until(
        lambda: deployment.cloud.journal.calls("create_snapshot", since=mark), "the copying"
    )
    deployment.call("POST", f"/snapshots/{copy}/action", {"force_delete": None})
    deployment.gone("snapshots")
    assert used(deployment) == provided(deployment) == (1, 0)


def test_sizes_that_an_earlier_version_wrote_are_corrected(deployment: MemoryDeployment) -> None:
    """It charged copies, and shares made from them, with less than there was."""
    share_id = new_share(deployment, size=9)
    copy = deployment.snapshot(share_id)
    snapshot_is(deployment, copy, "available")
    clone = new_share(deployment, size=9, snapshot_id=copy)
    with deployment.database.begin() as connection:
        rows.change(connection, snapshots, copy, size=1, share_size=1)
        rows.change(connection, shares, clone, size=1)
    deployment.until(lambda: used(deployment) == provided(deployment) == (18, 9), "the right sizes")


def test_in_every_order_of_events(deployment: MemoryDeployment) -> None:
    """Users who extend, copy, clone, delete and reset the same shares, and a cloud that fails."""
    limit(deployment)
    first = [new_share(deployment) for _ in range(2)]
    deployment.cloud.faults.delay("create_snapshot", 0.1, times=None)
    for call, error in (
        ("extend_volume", "OutOfCapacity"),
        ("apply_share", "GuestError"),
        ("create_snapshot", "CloudError"),
        ("apply_share", "GuestUnreachable"),
    ):
        for nth in (2, 7, 13):
            deployment.cloud.faults.fail(call, error, nth=nth)
    end = time.monotonic() + 8
    over: list[tuple[int, int]] = []
    failures: list[str] = []

    def user(seed: int) -> None:
        nonlocal failures
        choose = random.Random(seed)
        while time.monotonic() < end:
            all_shares = [one["id"] for one in deployment.call("GET", "/shares")["shares"]] or first
            copies = [one["id"] for one in deployment.call("GET", "/snapshots")["snapshots"]]
            share = choose.choice(all_shares)
            wishes: list[Callable[[], Any]] = [
                lambda share=share: deployment.act(  # type: ignore[misc]
                    share, extend={"new_size": choose.randint(2, 12)}
                ),
                lambda share=share: deployment.snapshot(share),  # type: ignore[misc]
                lambda share=share: deployment.act(  # type: ignore[misc]
                    share, reset_status={"status": "available"}
                ),
                lambda share=share: deployment.call("DELETE", f"/shares/{share}"),  # type: ignore[misc]
                deployment.create,
            ]
            if copies:
                copy = choose.choice(copies)
                wishes += [
                    lambda copy=copy: deployment.create(  # type: ignore[misc]
                        snapshot_id=copy, size=choose.randint(1, 12)
                    ),
                    lambda copy=copy: deployment.call(  # type: ignore[misc]
                        "DELETE", f"/snapshots/{copy}"
                    ),
                    lambda copy=copy: deployment.call(  # type: ignore[misc]
                        "POST", f"/snapshots/{copy}/action", {"force_delete": None}
                    ),
                ]
            try:
                choose.choice(wishes)()
            except AssertionError as refused:
                failures += re.findall(r": 5\d\d .*", str(refused))
            over.append(used(deployment))
            time.sleep(0.03)

    threads = [threading.Thread(target=user, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert max(size for sizes in over for size in sizes) <= LIMIT
    deployment.cloud.faults.clear()
    _settle(deployment)
    deployment.until(lambda: _sizes(deployment) == _provided_sizes(deployment), "what is provided")
    assert max(provided(deployment)) <= LIMIT


def _settle(deployment: MemoryDeployment) -> None:
    def at_rest() -> bool:
        with deployment.database.read() as connection:
            statuses = {row["status"] for row in rows.where(connection, shares)}
            statuses |= {row["status"] for row in rows.where(connection, snapshots)}
        return statuses <= {"available", "error", "error_deleting", "extending_error"}

    # A growth may wait for a snapshot: each has up to a minute until its next try.
    deployment.until(at_rest, "rest", 200)


def _sizes(deployment: MemoryDeployment) -> dict[str, int]:
    """Sizes by owner of all that came to be."""
    with deployment.database.read() as connection:
        found = {
            f"share/{row['id']}": max(row["size"], row["wanted_size"] or 0)
            for row in rows.where(connection, shares)
        }
        found |= {f"snapshot/{row['id']}": row["size"] for row in rows.where(connection, snapshots)}
    made = _provided_sizes(deployment)
    return {owner: size for owner, size in found.items() if owner in made}


def _provided_sizes(deployment: MemoryDeployment) -> dict[str, int]:
    volumes = deployment.cloud.volumes
    sizes = {volume.owner: volume.size_gib for volume in deployment.share_volumes()}
    return sizes | {copy.owner: copy.size_gib for copy in volumes.list_snapshots()}
