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
from tests import rows
from tests.lifecycle.house import House

LIMIT = 60
"""GiB that the project may have, of shares and of snapshots."""


@pytest.fixture
def house(new_house: Callable[..., House]) -> House:
    made = new_house(reconcile_interval=0.5)
    made.start_worker()
    return made


def limit(house: House) -> None:
    project = house.project()
    wanted = {"gigabytes": LIMIT, "snapshot_gigabytes": LIMIT}
    house.call("PUT", f"/quota-sets/{project}", {"quota_set": wanted})


def used(house: House) -> tuple[int, int]:
    """GiB of shares and of snapshots that the project is charged."""
    found = house.call("GET", f"/quota-sets/{house.project()}/detail")["quota_set"]
    return found["gigabytes"]["in_use"], found["snapshot_gigabytes"]["in_use"]


def provided(house: House) -> tuple[int, int]:
    """The same as the cloud has it."""
    volumes = house.cloud.volumes
    return (
        sum(volume.size_gib for volume in volumes.list_volumes()),
        sum(copy.size_gib for copy in volumes.list_snapshots()),
    )


def snapshot_is(house: House, snapshot_id: str, *statuses: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = house.call("GET", f"/snapshots/{snapshot_id}")["snapshot"]
        return found if found["status"] in statuses else None

    seen: dict[str, Any] = house.until(look, f"snapshot {snapshot_id} to be {statuses}")
    return seen


def share_is(house: House, share_id: str, *statuses: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = house.share(share_id)
        return found if found["status"] in statuses else None

    seen: dict[str, Any] = house.until(look, f"share {share_id} to be {statuses}")
    return seen


def new_share(house: House, **more: Any) -> str:
    share_id = house.create(**more)
    share_is(house, share_id, "available")
    return share_id


def test_a_share_does_not_grow_while_its_snapshots_are_taken(house: House) -> None:
    share_id = new_share(house)
    house.cloud.faults.delay("create_snapshot", 1.0, times=None)
    copies = [house.snapshot(share_id) for _ in range(5)]
    house.act(share_id, extend={"new_size": 20})
    seen = [snapshot_is(house, copy, "available") for copy in copies]
    assert share_is(house, share_id, "available")["size"] == 20
    assert [(one["size"], one["share_size"]) for one in seen] == [(1, 1)] * 5
    assert used(house) == provided(house) == (20, 5)


def test_not_even_while_one_is_called_available_by_hand(house: House) -> None:
    share_id = new_share(house)
    house.cloud.faults.delay("create_snapshot", 1.5)
    mark = house.cloud.journal.mark()
    copy = house.snapshot(share_id)
    house.until(lambda: house.cloud.journal.calls("create_snapshot", since=mark), "the copying")
    house.call("POST", f"/snapshots/{copy}/action", {"reset_status": {"status": "available"}})
    house.act(share_id, extend={"new_size": 20})
    share_is(house, share_id, "available")
    snapshot_is(house, copy, "available")
    assert used(house) == provided(house) == (20, 1)


def test_a_copy_of_what_may_be_growing_is_charged_with_the_goal(house: House) -> None:
    limit(house)
    share_id = new_share(house)
    house.cloud.faults.delay("apply_share", 1.5)
    mark = house.cloud.journal.mark()
    house.act(share_id, extend={"new_size": 40})
    house.until(lambda: house.cloud.journal.calls("extend_volume", since=mark), "the growing")
    house.act(share_id, reset_status={"status": "available"})
    copy = house.snapshot(share_id)
    assert used(house) == (40, 40)
    with pytest.raises(AssertionError, match="413"):
        house.snapshot(share_id)
    snapshot_is(house, copy, "available")
    house.until(lambda: used(house) == provided(house) == (40, 40), "what is provided")


def test_a_growth_that_failed_after_the_volume_had_grown_is_charged(house: House) -> None:
    share_id = new_share(house)
    house.cloud.faults.fail("apply_share", "GuestError", times=None)
    house.act(share_id, extend={"new_size": 20})
    share_is(house, share_id, "extending_error")
    assert used(house) == provided(house) == (20, 0)
    house.act(share_id, reset_status={"status": "available"})
    house.cloud.faults.clear()
    house.until(lambda: house.share(share_id)["size"] == 20, "the size that it has")
    assert used(house) == provided(house)
    with pytest.raises(AssertionError, match="400"):
        house.act(share_id, extend={"new_size": 10})
    copy = house.snapshot(share_id)
    assert snapshot_is(house, copy, "available")["size"] == 20
    assert used(house) == provided(house) == (20, 20)


def test_a_growth_that_found_no_room_and_was_called_off_costs_nothing(house: House) -> None:
    share_id = new_share(house)
    house.cloud.faults.fail("extend_volume", "OutOfCapacity", times=None)
    house.act(share_id, extend={"new_size": 20})
    share_is(house, share_id, "extending_error")
    assert used(house)[0] == 20  # it is tried again
    house.act(share_id, reset_status={"status": "available"})
    house.until(lambda: used(house) == provided(house) == (1, 0), "it to be called off")
    house.cloud.faults.clear()
    house.act(share_id, extend={"new_size": 5})
    assert share_is(house, share_id, "available")["size"] == 5
    assert used(house) == provided(house) == (5, 0)


def test_a_deletion_by_force_is_not_forgotten_when_the_copy_is_done(house: House) -> None:
    share_id = new_share(house)
    house.cloud.faults.delay("create_snapshot", 1.0)
    mark = house.cloud.journal.mark()
    copy = house.snapshot(share_id)
    house.until(lambda: house.cloud.journal.calls("create_snapshot", since=mark), "the copying")
    house.call("POST", f"/snapshots/{copy}/action", {"force_delete": None})
    house.gone("snapshots")
    assert used(house) == provided(house) == (1, 0)


def test_sizes_that_an_earlier_version_wrote_are_corrected(house: House) -> None:
    """It charged copies, and shares made from them, with less than there was."""
    share_id = new_share(house, size=9)
    copy = house.snapshot(share_id)
    snapshot_is(house, copy, "available")
    clone = new_share(house, size=9, snapshot_id=copy)
    with house.database.begin() as connection:
        rows.change(connection, snapshots, copy, size=1, share_size=1)
        rows.change(connection, shares, clone, size=1)
    house.until(lambda: used(house) == provided(house) == (18, 9), "the right sizes")


def test_in_every_order_of_events(house: House) -> None:
    """Users who extend, copy, clone, delete and reset the same shares, and a cloud that fails."""
    limit(house)
    first = [new_share(house) for _ in range(2)]
    house.cloud.faults.delay("create_snapshot", 0.1, times=None)
    for call, error in (
        ("extend_volume", "OutOfCapacity"),
        ("apply_share", "GuestError"),
        ("create_snapshot", "CloudError"),
        ("apply_share", "GuestUnreachable"),
    ):
        for nth in (2, 7, 13):
            house.cloud.faults.fail(call, error, nth=nth)
    end = time.monotonic() + 8
    over: list[tuple[int, int]] = []
    failures: list[str] = []

    def user(seed: int) -> None:
        nonlocal failures
        choose = random.Random(seed)
        while time.monotonic() < end:
            all_shares = [one["id"] for one in house.call("GET", "/shares")["shares"]] or first
            copies = [one["id"] for one in house.call("GET", "/snapshots")["snapshots"]]
            share = choose.choice(all_shares)
            wishes: list[Callable[[], Any]] = [
                lambda share=share: house.act(  # type: ignore[misc]
                    share, extend={"new_size": choose.randint(2, 12)}
                ),
                lambda share=share: house.snapshot(share),  # type: ignore[misc]
                lambda share=share: house.act(  # type: ignore[misc]
                    share, reset_status={"status": "available"}
                ),
                lambda share=share: house.call("DELETE", f"/shares/{share}"),  # type: ignore[misc]
                house.create,
            ]
            if copies:
                copy = choose.choice(copies)
                wishes += [
                    lambda copy=copy: house.create(  # type: ignore[misc]
                        snapshot_id=copy, size=choose.randint(1, 12)
                    ),
                    lambda copy=copy: house.call(  # type: ignore[misc]
                        "DELETE", f"/snapshots/{copy}"
                    ),
                    lambda copy=copy: house.call(  # type: ignore[misc]
                        "POST", f"/snapshots/{copy}/action", {"force_delete": None}
                    ),
                ]
            try:
                choose.choice(wishes)()
            except AssertionError as refused:
                failures += re.findall(r": 5\d\d .*", str(refused))
            over.append(used(house))
            time.sleep(0.03)

    threads = [threading.Thread(target=user, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert max(size for sizes in over for size in sizes) <= LIMIT
    house.cloud.faults.clear()
    _settle(house)
    house.until(lambda: _sizes(house) == _provided_sizes(house), "what is provided")
    assert max(provided(house)) <= LIMIT


def _settle(house: House) -> None:
    def at_rest() -> bool:
        with house.database.read() as connection:
            statuses = {row["status"] for row in rows.where(connection, shares)}
            statuses |= {row["status"] for row in rows.where(connection, snapshots)}
        return statuses <= {"available", "error", "error_deleting", "extending_error"}

    # A growth may wait for a snapshot: each has up to a minute until its next try.
    house.until(at_rest, "rest", 200)


def _sizes(house: House) -> dict[str, int]:
    """Sizes by owner of all that came to be."""
    with house.database.read() as connection:
        found = {
            f"share/{row['id']}": max(row["size"], row["wanted_size"] or 0)
            for row in rows.where(connection, shares)
        }
        found |= {f"snapshot/{row['id']}": row["size"] for row in rows.where(connection, snapshots)}
    made = _provided_sizes(house)
    return {owner: size for owner, size in found.items() if owner in made}


def _provided_sizes(house: House) -> dict[str, int]:
    volumes = house.cloud.volumes
    sizes = {volume.owner: volume.size_gib for volume in volumes.list_volumes()}
    return sizes | {copy.owner: copy.size_gib for copy in volumes.list_snapshots()}
