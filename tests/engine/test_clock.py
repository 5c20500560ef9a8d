"""Nothing waits longer than the longest sensible delay, whatever the clock has done.

A clock that was ahead, and is right again, leaves times behind that are too far ahead.
"""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import update

from atoll.db.tables import operations
from atoll.engine.operation import Operation
from atoll.engine.periodic import Periodic
from atoll.engine.retry import Retry
from atoll.errors import CloudUnavailable
from tests.engine.conftest import Recorder, Yard, eventually, waiting

TWO_HOURS = 7200.0
SOON = 20.0


def clock_was_ahead(yard: Yard, seconds: float = TWO_HOURS) -> None:
    """Shift all that was planned, as if the clock had been ahead when it was."""
    with yard.database.begin() as connection:
        connection.execute(
            update(operations)
            .where(operations.c.status.in_(("queued", "running")))
            .values(
                not_before=operations.c.not_before + seconds,
                lease_until=operations.c.lease_until + seconds,
            )
        )


@pytest.mark.parametrize("running", [False, True], ids=["before its start", "while it runs"])
def test_periodic_work_does_not_wait_for_the_wrong_time(yard: Yard, running: bool) -> None:
    turns: list[int] = []
    periodic = Periodic("look", 30.0, lambda _: turns.append(1))
    yard.work({"look": periodic})
    eventually(lambda: len(turns) == 1)
    eventually(lambda: yard.status("look/all") == "queued")
    if not running:
        yard.stop()
    clock_was_ahead(yard)
    if not running:
        yard.work({"look": periodic})
    eventually(lambda: len(turns) == 2, within=SOON)


@pytest.mark.parametrize("seconds", [TWO_HOURS, 300.0])
def test_a_try_does_not_wait_for_the_wrong_time(
    yard: Yard, recorder: Recorder, seconds: float
) -> None:
    def fails_once(_: Operation) -> None:
        if len(recorder.converged["share/1"]) == 1:
            raise CloudUnavailable

    recorder.does["share/1"] = fails_once
    yard.ask("share/1")
    yard.work({"share": recorder}, retry=Retry(first=55.0))
    eventually(lambda: yard.rows("share/1")[0].attempts == 1)
    clock_was_ahead(yard, seconds)
    yard.ends("share/1", within=SOON)


def test_a_run_that_was_asked_for_meanwhile_is_not_put_off(yard: Yard, recorder: Recorder) -> None:
    go_on = threading.Event()
    recorder.does["share/1"] = waiting(go_on)
    yard.ask("share/1")
    yard.work({"share": recorder})
    eventually(lambda: bool(recorder.converged["share/1"]))
    yard.ask("share/1")
    clock_was_ahead(yard)
    go_on.set()
    yard.ends("share/1", within=SOON)
    assert len(recorder.converged["share/1"]) == 2


def test_a_dead_workers_lease_does_not_last_until_the_wrong_time(
    yard: Yard, recorder: Recorder
) -> None:
    with yard.database.begin() as connection:
        connection.execute(
            operations.insert().values(
                id="1", resource="share/1", lane="", status="running", again=False, attempts=0,
                fence=1, owner="elsewhere:1", lease_until=4e9, not_before=0.0,
                created_at="2026-01-01T00:00:00.000000",
            )
        )  # fmt: skip
    yard.work({"share": recorder})
    yard.ends("share/1", within=SOON)
    assert recorder.converged["share/1"][0].taken_over


def test_a_living_workers_lease_is_not_shortened_below_its_length(
    yard: Yard, recorder: Recorder
) -> None:
    go_on, first = threading.Event(), Recorder()
    first.does["share/1"] = waiting(go_on)
    yard.ask("share/1")
    yard.work({"share": first})
    eventually(lambda: bool(first.converged["share/1"]))
    clock_was_ahead(yard)
    yard.work({"share": recorder})
    threading.Event().wait(2.5)  # more than two leases
    assert not recorder.converged["share/1"]
    go_on.set()
    yard.ends("share/1")
