"""Trying again, and one thing out of several: the mechanism, without a cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atoll.cloud import sole as module
from atoll.cloud.sole import TRIES, alone, found_or_made, oldest, repeated, sole
from atoll.errors import CloudError, CloudNotFound, CloudUnavailable, OutOfCapacity

Thing = dict[str, Any]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pauses that were made; none of them lasts."""
    made: list[int] = []
    monkeypatch.setattr(module, "pause", made.append)
    return made


class Things:
    """A cloud that lets several things be made, and fails as often as it is told to."""

    def __init__(self, *ids: str, failures: int = 0, error: type[CloudError] = CloudUnavailable):
        self.there: list[Thing] = [{"id": thing_id} for thing_id in ids]
        self.asked = 0
        self._failures = failures
        self._error = error

    def find(self) -> list[Thing]:
        return list(self.there)

    def first(self) -> Thing | None:
        return next(iter(self.there), None)

    def make(self, _: int = 0) -> Thing:
        self.asked += 1
        if self.asked <= self._failures:
            raise self._error("not now")
        made = {"id": f"made {self.asked}"}
        self.there.append(made)
        return made


def test_a_request_is_sent_until_it_is_answered(pauses: list[int]) -> None:
    things = Things(failures=TRIES - 1)
    assert repeated(things.make) == things.first()
    assert pauses == list(range(1, TRIES))


@pytest.mark.parametrize("call", [repeated, lambda make: found_or_made(lambda: None, make)])
def test_the_last_failure_is_reported(call: Callable[..., Thing]) -> None:
    things = Things(failures=TRIES)
    with pytest.raises(CloudUnavailable):
        call(things.make)
    assert things.asked == TRIES


def test_a_refusal_is_not_repeated() -> None:
    things = Things(failures=1, error=OutOfCapacity)
    with pytest.raises(OutOfCapacity):
        repeated(things.make)
    assert things.asked == 1


def test_callers_say_which_errors_pass() -> None:
    things = Things(failures=2, error=CloudNotFound)
    assert repeated(things.make, on=(CloudNotFound, CloudUnavailable)) == {"id": "made 3"}


def test_what_an_unanswered_request_has_made_is_found() -> None:
    things = Things()

    def unanswered(_: int) -> Thing:
        things.make()
        raise CloudUnavailable("no answer")

    assert found_or_made(things.first, unanswered) == {"id": "made 1"}
    assert things.asked == 1


def test_each_try_knows_its_number() -> None:
    numbers: list[int] = []

    def make(number: int) -> Thing:
        numbers.append(number)
        raise CloudUnavailable("not now")

    with pytest.raises(CloudUnavailable):
        found_or_made(lambda: None, make)
    assert numbers == list(range(TRIES))


def test_a_thing_that_is_not_alone_is_removed() -> None:
    things = Things("other")
    with pytest.raises(CloudUnavailable, match="Several workers tried to create the thing"):
        alone(things.find, things.make, things.there.remove, "the thing")
    assert things.there == [{"id": "other"}]
    empty = Things()
    assert alone(empty.find, empty.make, empty.there.remove, "the thing") == {"id": "made 1"}


def is_done(found: Any) -> Thing | None:
    return next((thing for thing in found if thing.get("done")), None)


def test_a_thing_that_another_worker_is_making_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    things = Things("begun")
    monkeypatch.setattr(module, "pause", lambda _: things.there[0].update(done=True))
    assert sole(things.find, is_done, things.make, lambda _: pytest.fail("resumed"))["done"]
    assert things.asked == 0


def test_a_dead_workers_thing_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    things = Things("begun", "later")
    assert sole(things.find, is_done, things.make, lambda found: found)["id"] == "begun"


def test_a_failure_to_make_it_ends_at_once_or_with_the_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusing = Things(failures=9, error=OutOfCapacity)
    with pytest.raises(OutOfCapacity):
        sole(refusing.find, is_done, refusing.make, lambda found: found)
    assert refusing.asked == 1
    busy = Things(failures=2)
    assert sole(busy.find, is_done, busy.make, lambda found: found) == {"id": "made 3"}
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    silent = Things(failures=9)
    with pytest.raises(CloudUnavailable):
        sole(silent.find, is_done, silent.make, lambda found: found)


@pytest.mark.parametrize(
    ("there", "left"),
    [
        ([[], ["b"]], ["b"]),  # nobody else has made one
        ([[], []], ["b"]),  # a list that does not show it yet
        ([[], ["a", "b"]], ["a"]),  # another worker began earlier
        ([["a"]], ["a"]),
    ],
)
def test_the_oldest_is_kept(there: list[list[str]], left: list[str]) -> None:
    seen = iter(there)
    made: list[str] = []
    removed: list[str] = []

    def make() -> str:
        made.append("b")
        return "b"

    kept = oldest(
        lambda: min(next(seen), default=None), make, lambda thing_id: thing_id, removed.append
    )
    assert [kept] == left
    assert removed == [each for each in made if each != kept]


def test_pauses_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    for failed in range(1, 7):
        module.pause(failed)
    assert slept == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
