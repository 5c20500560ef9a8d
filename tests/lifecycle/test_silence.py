"""Only silence that a worker has seen itself, while it was awake, counts."""

from __future__ import annotations

import pytest

from atoll.lifecycle.silence import FORGOTTEN_AFTER, Silences

GAP = 30.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def seen(silences: Silences, server_id: str, since: float | None, counts: bool = True) -> float:
    return silences.seen(server_id, since, longest_gap=GAP, counts=counts).seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def silences(clock: Clock) -> Silences:
    return Silences(clock)


def test_the_first_look_finds_no_silence_however_old_the_row_is(silences: Silences) -> None:
    assert seen(silences, "s1", 5.0) == 0.0


def test_silence_grows_with_the_clock(silences: Silences, clock: Clock) -> None:
    seen(silences, "s1", None)
    for expected in (10.0, 20.0, 30.0):
        clock.now += 10
        assert seen(silences, "s1", 7.0) == expected
    assert seen(silences, "s2", 7.0) == 0.0


def test_a_worker_that_was_frozen_does_not_count_the_whole_gap(
    silences: Silences, clock: Clock
) -> None:
    seen(silences, "s1", 7.0)
    clock.now += 1000
    assert seen(silences, "s1", 7.0) == GAP


def test_an_answer_ends_the_silence(silences: Silences, clock: Clock) -> None:
    seen(silences, "s1", 7.0)
    clock.now += 10
    silences.ended("s1")
    assert seen(silences, "s1", 7.0) == 0.0
    silences.ended("unknown")


def test_an_answer_to_another_worker_ends_the_silence(silences: Silences, clock: Clock) -> None:
    """The row was changed: it is silent since another time, or was just found silent again."""
    for since in (8.0, None):
        seen(silences, "s1", 7.0)
        clock.now += 10
        assert seen(silences, "s1", since) == 0.0
        silences.ended("s1")


def test_removed_servers_are_forgotten(silences: Silences, clock: Clock) -> None:
    seen(silences, "gone", 7.0)
    clock.now += FORGOTTEN_AFTER + 1
    seen(silences, "s1", 7.0)
    assert list(silences._records) == ["s1"]


def test_silence_with_another_cause_does_not_count_afterwards_either(
    silences: Silences, clock: Clock
) -> None:
    seen(silences, "s1", 7.0)
    clock.now += 10
    assert seen(silences, "s1", 7.0) == 10.0
    for _ in range(100):
        clock.now += 10
        assert seen(silences, "s1", 7.0, counts=False) == 0.0
    clock.now += 5
    assert seen(silences, "s1", 7.0) == 5.0


def test_an_instance_that_was_reset_has_time_to_boot(silences: Silences, clock: Clock) -> None:
    silences.reset("s1")  # it was never seen: nothing is recorded
    assert silences.seen("s1", 7.0, longest_gap=GAP).reset_for is None
    clock.now += 20
    silences.reset("s1")
    clock.now += 5
    found = silences.seen("s1", 7.0, longest_gap=GAP)
    assert (found.seconds, found.reset_for) == (5.0, 5.0)
    silences.ended("s1")
    assert silences.seen("s1", 8.0, longest_gap=GAP).reset_for is None
