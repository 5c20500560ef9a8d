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
from tests.engine.conftest import Recorder, Workers, eventually, waiting

TWO_HOURS = 7200.0
SOON = 20.0


def clock_was_ahead(workers: Workers, seconds: float = TWO_HOURS) -> None:
    """Shift all that was planned, as if the clock had been ahead when it was."""
    with workers.database.begin() as connection:
        connection.execute(
            update(operations)
            .where(operations.c.status.in_(("queued", "running")))
            .values(
                not_before=operations.c.not_before + seconds,
                lease_until=operations.c.lease_until + seconds,
            )
        )


@pytest.mark.parametrize("running", [False, True], ids=["before its start", "while it runs"])
def test_periodic_work_does_not_wait_for_the_wrong_time(workers: Workers, running: bool) -> None:
    turns: list[int] = []
    periodic = Periodic("look", 30.0, lambda _: turns.append(1))
    workers.work({"look": periodic})
    eventually(lambda: len(turns) == 1)
    eventually(lambda: workers.status("look/all") == "queued")
    if not running:
        workers.stop()
    clock_was_ahead(workers)
    if not running:
        workers.work({"look": periodic})
    eventually(lambda: len(turns) == 2, within=SOON)


@pytest.mark.parametrize("seconds", [TWO_HOURS, 300.0])
def test_a_try_does_not_wait_for_the_wrong_time(
    workers: Workers, recorder: Recorder, seconds: float
) -> None:
    def fails_once(_: Operation) -> None:
        if len(recorder.converged["share/1"]) == 1:
            raise CloudUnavailable

    recorder.does["share/1"] = fails_once
    workers.ask("share/1")
    workers.work({"share": recorder}, retry=Retry(first=55.0))
    eventually(lambda: workers.rows("share/1")[0].attempts == 1)
    clock_was_ahead(workers, seconds)
    workers.ends("share/1", within=SOON)


def test_a_run_that_was_asked_for_meanwhile_is_not_put_off(
    workers: Workers, recorder: Recorder
) -> None:
    go_on = threading.Event()
    recorder.does["share/1"] = waiting(go_on)
    workers.ask("share/1")
    workers.work({"share": recorder})
    eventually(lambda: bool(recorder.converged["share/1"]))
    workers.ask("share/1")
    clock_was_ahead(workers)
    go_on.set()
    workers.ends("share/1", within=SOON)
    assert len(recorder.converged["share/1"]) == 2


def test_a_dead_workers_lease_does_not_last_until_the_wrong_time(
    workers: Workers, recorder: Recorder
) -> None:
    with workers.database.begin() as connection:
        connection.execute(
            operations.insert().values(
                id="1", resource="share/1", lane="", status="running", again=False, attempts=0,
                fence=1, owner="elsewhere:1", lease_until=4e9, not_before=0.0,
                created_at="2026-01-01T00:00:00.000000",
            )
        )  # fmt: skip
    workers.work({"share": recorder}, lease=1.0)
    workers.ends("share/1", within=SOON)
    assert recorder.converged["share/1"][0].taken_over


def test_a_living_workers_lease_is_not_shortened_below_its_length(
    workers: Workers, recorder: Recorder
) -> None:
    go_on, first = threading.Event(), Recorder()
    first.does["share/1"] = waiting(go_on)
    workers.ask("share/1")
    workers.work({"share": first}, lease=1.0)
    eventually(lambda: bool(first.converged["share/1"]))
    clock_was_ahead(workers)
    workers.work({"share": recorder}, lease=1.0)
    threading.Event().wait(2.5)  # more than two leases
    assert not recorder.converged["share/1"]
    go_on.set()
    workers.ends("share/1")
