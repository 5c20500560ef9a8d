"""How operations end, seen through ``enqueue`` and a worker, on both databases."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from atoll.db.database import Database
from atoll.db.migrations import upgrade
from atoll.db.tables import operations
from atoll.engine.operation import Operation
from atoll.engine.retry import Retry
from atoll.engine.worker_locks import WorkerLocks
from atoll.errors import (
    CloudUnavailable,
    Invalid,
    LeaseLost,
    OutOfCapacity,
    Postponed,
    WorkerStopping,
)
from tests.engine.conftest import Act, Recorder, Workers, eventually, waiting


def raising(error: Exception) -> Act:
    def act(_: Operation) -> None:
        raise error

    return act


def test_what_is_asked_for_is_done_at_once(workers: Workers, recorder: Recorder) -> None:
    workers.work({"share": recorder}, poll=30.0)
    time.sleep(0.5)  # it is idle now, and would look again in half a minute
    begun = time.monotonic()
    workers.ask("share/1", request_id="req-7")
    eventually(lambda: bool(recorder.converged["share/1"]))
    assert time.monotonic() - begun < 1
    workers.ends("share/1")
    (operation,) = recorder.converged["share/1"]
    assert (operation.resource_type, operation.resource_id) == ("share", "1")
    assert (operation.attempt, operation.request_id) == (1, "req-7")


def test_a_burst_is_one_run_and_one_more_for_what_came_during_it(
    workers: Workers, recorder: Recorder
) -> None:
    go = threading.Event()
    recorder.does["share/1"] = waiting(go)
    workers.ask(*["share/1"] * 5)
    workers.work({"share": recorder})
    eventually(lambda: len(recorder.converged["share/1"]) == 1)
    workers.ask(*["share/1"] * 5, request_id="req-2")
    go.set()
    workers.ends("share/1")
    first, second = recorder.converged["share/1"]
    assert second.fence > first.fence
    assert second.request_id == "req-2"


def test_a_retryable_error_is_tried_again(workers: Workers, recorder: Recorder) -> None:
    def flaky(operation: Operation) -> None:
        if operation.attempt < 3:
            raise CloudUnavailable

    recorder.does["share/1"] = flaky
    workers.ask("share/1")
    workers.work({"share": recorder})
    workers.ends("share/1")
    assert [one.attempt for one in recorder.converged["share/1"]] == [1, 2, 3]
    assert recorder.given_up == []


def test_tries_run_out(workers: Workers, recorder: Recorder) -> None:
    recorder.does["share/1"] = raising(CloudUnavailable("Nova is away"))
    workers.ask("share/1")
    workers.work({"share": recorder})
    workers.ends("share/1", "failed")
    assert len(recorder.converged["share/1"]) == 4
    ((_, error),) = recorder.given_up
    assert isinstance(error, CloudUnavailable)
    assert workers.rows("share/1")[0].error == "Nova is away"


def test_what_is_waited_for_uses_up_no_tries(workers: Workers, recorder: Recorder) -> None:
    error = CloudUnavailable("It boots.")
    error.retry_within = 0.01

    def boots(operation: Operation) -> None:
        if len(recorder.converged["share/1"]) < 10:
            raise error

    recorder.does["share/1"] = boots
    workers.ask("share/1")
    workers.work({"share": recorder})
    workers.ends("share/1")
    assert recorder.given_up == []


@pytest.mark.parametrize("error", [OutOfCapacity(), Invalid("no"), KeyError("a bug \0\udcff")])
def test_other_errors_are_given_up_at_once(
    workers: Workers, recorder: Recorder, error: Exception
) -> None:
    recorder.does["share/1"] = raising(error)
    workers.ask("share/1")
    workers.work({"share": recorder})
    workers.ends("share/1", "failed")
    assert recorder.given_up == [("share/1", error)]
    assert len(recorder.converged["share/1"]) == 1


def test_a_failed_resource_can_be_asked_for_again(workers: Workers, recorder: Recorder) -> None:
    """The failure stays on record, because it decides when failed work is tried again."""

    def act(operation: Operation) -> None:
        if len(recorder.converged["share/1"]) == 1:
            workers.ask("share/1", request_id="req-2")  # somebody asks while it runs
            raise OutOfCapacity

    recorder.does["share/1"] = act
    workers.ask("share/1", request_id="req-1")
    workers.work({"share": recorder})

    def ended() -> set[tuple[str, str, bool]]:
        return {(row.status, row.request_id, bool(row.error)) for row in workers.rows("share/1")}

    eventually(lambda: ended() == {("failed", "req-1", True), ("done", "req-2", False)})
    assert len(recorder.given_up) == 1
    assert len(recorder.converged["share/1"]) == 2


def test_giving_up_is_tried_until_it_works(workers: Workers, recorder: Recorder) -> None:
    tries: list[int] = []

    def fails_twice(operation: Operation) -> None:
        tries.append(operation.attempt)
        if len(tries) < 3:
            raise RuntimeError("the error state could not be written")

    recorder.does["share/1"] = raising(OutOfCapacity())
    recorder.when_giving_up = fails_twice
    workers.ask("share/1")
    workers.work({"share": recorder})
    workers.ends("share/1", "failed")
    assert tries == [1, 2, 3]


def test_a_request_ends_a_back_off(workers: Workers, recorder: Recorder) -> None:
    def act(operation: Operation) -> None:
        if len(recorder.converged["share/1"]) == 1:
            raise CloudUnavailable

    recorder.does["share/1"] = act
    workers.ask("share/1")
    workers.work({"share": recorder}, retry=Retry(first=1000.0, longest=1000.0))
    eventually(lambda: workers.rows("share/1")[0].attempts == 1)
    workers.ask("share/1", request_id="req-1")
    workers.ends("share/1")
    assert recorder.converged["share/1"][1].attempt == 1  # and past failures don't count


def test_delayed_work_starts_on_time(workers: Workers, recorder: Recorder) -> None:
    workers.work({"share": recorder}, poll=30.0)
    time.sleep(0.3)
    begun = time.monotonic()
    workers.ask("share/1", delay=0.5)
    workers.ends("share/1")
    assert 0.45 < time.monotonic() - begun < 2


def test_postponed_work_is_woken_by_what_it_waits_for(workers: Workers, recorder: Recorder) -> None:
    booted = threading.Event()

    def needs_server(operation: Operation) -> None:
        if not booted.is_set():
            raise Postponed(waits_for="share_server/1")

    recorder.does["share/1"] = needs_server
    recorder.does["share_server/1"] = waiting(booted)
    workers.ask("share_server/1", "share/1")
    workers.work({"share": recorder, "share_server": recorder}, poll=30.0)
    eventually(lambda: workers.rows("share/1")[0].waits_for is not None)
    time.sleep(0.3)
    assert len(recorder.converged["share/1"]) <= 2
    ended = time.monotonic()
    booted.set()
    workers.ends("share/1")
    assert time.monotonic() - ended < 2
    assert recorder.converged["share/1"][-1].attempt == 1


def test_waiting_for_nothing_does_not_spin(workers: Workers, recorder: Recorder) -> None:
    recorder.does["share/1"] = raising(Postponed(waits_for="share_server/none"))
    workers.ask("share/1")
    workers.work({"share": recorder})
    time.sleep(1.5)
    assert 3 <= len(recorder.converged["share/1"]) <= 8


def test_a_check_planned_for_later_keeps_nobody_waiting(
    workers: Workers, recorder: Recorder
) -> None:
    def act(operation: Operation) -> None:
        if len(recorder.converged["share/1"]) == 1:
            raise Postponed(waits_for="share_server/1")

    recorder.does["share/1"] = act
    workers.ask("share_server/1", delay=50)
    workers.ask("share/1")
    workers.work({"share": recorder})
    workers.ends("share/1")


def test_a_hung_share_server_leaves_room_for_others(workers: Workers, recorder: Recorder) -> None:
    hung = threading.Event()
    for number in range(6):
        recorder.does[f"share/hung{number}"] = waiting(hung)
        workers.ask(f"share/hung{number}", lane="dead")
    workers.ask(*[f"share/{number}" for number in range(20)], lane="alive")
    workers.work({"share": recorder}, threads=4, lane_width=2)
    for number in range(20):
        workers.ends(f"share/{number}")
    hanging = [name for name in recorder.converged if "hung" in name]
    assert len(hanging) == 2
    hung.set()
    for number in range(6):
        workers.ends(f"share/hung{number}")


def test_a_lane_found_on_the_way_counts_too(workers: Workers, recorder: Recorder) -> None:
    hung = threading.Event()
    inside: list[str] = []

    def act(operation: Operation) -> None:
        operation.set_lane("dead")
        inside.append(operation.resource)
        hung.wait(20)

    for number in range(6):
        recorder.does[f"share/{number}"] = act
    workers.ask(*[f"share/{number}" for number in range(6)], "share/other")
    workers.work({"share": recorder}, threads=4, lane_width=2)
    workers.ends("share/other")
    time.sleep(0.2)
    assert len(inside) == 2
    hung.set()
    for number in range(6):
        workers.ends(f"share/{number}")


def test_an_overtaken_operation_writes_nothing(workers: Workers, recorder: Recorder) -> None:
    seen: list[str] = []

    def act(operation: Operation) -> None:
        with workers.database.begin() as connection:  # as a take-over would
            connection.execute(update(operations).values(fence=operation.fence + 1))
        with pytest.raises(LeaseLost), operation.transaction():
            seen.append("wrote")
        with pytest.raises(LeaseLost):
            operation.check()
        seen.append("refused")
        raise LeaseLost

    recorder.does["share/1"] = act
    workers.ask("share/1")
    workers.work({"share": recorder})
    eventually(lambda: seen == ["refused"])
    time.sleep(0.2)
    assert workers.status("share/1") == "running"  # it is somebody else's now
    assert recorder.given_up == []


def test_long_work_keeps_its_lease(workers: Workers, recorder: Recorder) -> None:
    def act(operation: Operation) -> None:
        for _ in range(30):
            time.sleep(0.1)
            operation.check()
        with operation.transaction():
            pass

    recorder.does["share/1"] = act
    workers.ask("share/1")
    workers.work({"share": recorder}, lease=1.0)
    workers.work({"share": recorder}, lease=1.0)
    workers.ends("share/1")
    assert len(recorder.converged["share/1"]) == 1


def test_stopping_hands_work_on(workers: Workers, recorder: Recorder) -> None:
    def act(operation: Operation) -> None:
        while len(recorder.converged["share/1"]) == 1:
            time.sleep(0.01)
            operation.check()

    recorder.does["share/1"] = act
    workers.ask("share/1")
    workers.work({"share": recorder})
    eventually(lambda: bool(recorder.converged["share/1"]))
    begun = time.monotonic()
    workers.stop(grace=10.0)
    assert time.monotonic() - begun < 1
    assert workers.status("share/1") == "queued"
    workers.work({"share": recorder})
    workers.ends("share/1")
    with pytest.raises(WorkerStopping):
        recorder.converged["share/1"][0].check()


def test_the_next_process_goes_on_at_once(
    workers: Workers, recorder: Recorder, tmp_path: Path
) -> None:
    stuck = threading.Event()
    first = Recorder()
    first.does["share/1"] = waiting(stuck)
    workers.ask("share/1")
    workers.work({"share": first}, name="host", locks=WorkerLocks(tmp_path), lease=60.0)
    eventually(lambda: bool(first.converged["share/1"]))
    begun = time.monotonic()
    workers.stop(grace=0.2)  # it hangs, and the process does not wait for it
    assert time.monotonic() - begun < 2
    assert workers.status("share/1") == "running"
    workers.work({"share": recorder}, name="host", locks=WorkerLocks(tmp_path), lease=60.0)
    workers.ends("share/1", within=5.0)
    assert recorder.converged["share/1"][0].taken_over
    stuck.set()
    workers.stop()
    WorkerLocks(tmp_path).sweep()
    assert not list(tmp_path.iterdir())


def test_a_worker_that_starts_leaves_a_living_one_of_its_name_alone(
    workers: Workers, recorder: Recorder, tmp_path: Path
) -> None:
    """In containers each worker may be process 1 of a host of the same name."""
    go_on, first = threading.Event(), Recorder()
    first.does["share/1"] = waiting(go_on)
    workers.ask("share/1")
    workers.work(
        {"share": first}, name="host:1", locks=WorkerLocks(tmp_path), lease=60.0, threads=1
    )
    eventually(lambda: bool(first.converged["share/1"]))
    workers.work({"share": recorder}, name="host:1", locks=WorkerLocks(tmp_path), lease=60.0)
    workers.ask("share/2")
    workers.ends("share/2", within=5.0)
    assert first.converged["share/1"][0].is_lost is False
    assert list(recorder.converged) == ["share/2"]
    go_on.set()
    workers.ends("share/1", within=5.0)
    assert len(first.converged["share/1"]) == 1


def test_on_one_machine_a_dead_worker_is_known_to_be_dead(tmp_path: Path) -> None:
    """Its name need not come back, and its lease need not end."""
    database = Database(f"sqlite:///{tmp_path}/atoll.db")
    upgrade(database)
    stuck, first, second = threading.Event(), Recorder(), Recorder()
    first.does["share/1"] = first.does["share/2"] = waiting(stuck)
    with Workers(database) as dies, Workers(database) as lives, Workers(database) as comes:
        dies.ask("share/1")
        dies.work({"share": first}, lease=60.0, threads=1)  # so that each has one, and no more
        eventually(lambda: bool(first.converged["share/1"]))
        lives.work({"share": first}, lease=60.0, threads=1)
        lives.ask("share/2")
        eventually(lambda: bool(first.converged["share/2"]))
        dies.stop(grace=0.1)
        comes.work({"share": second}, lease=60.0)
        comes.ends("share/1", within=5.0)
        assert list(second.converged) == ["share/1"]  # and the living one's is left alone
        stuck.set()
    database.close()


def test_work_of_no_type_fails(workers: Workers, recorder: Recorder) -> None:
    workers.ask("shares/1", "share/1")
    workers.work({"share": recorder})
    workers.ends("share/1")
    workers.ends("shares/1", "failed")
    assert workers.rows("shares/1")[0].error == "There is no type of resource shares."
