"""Periodic work: run by one worker at a time, again and again, whatever happens to it."""

from __future__ import annotations

import itertools
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, insert, select

from atoll.db.tables import operations
from atoll.engine.operation import Operation
from atoll.engine.periodic import Periodic
from tests.engine.conftest import Recorder, Workers, eventually


def test_one_of_all_workers_runs_it_each_time(workers: Workers) -> None:
    times: list[float] = []
    inside = threading.Semaphore(1)

    def look(_: Operation) -> None:
        assert inside.acquire(blocking=False)
        times.append(time.monotonic())
        time.sleep(0.05)
        inside.release()

    for _ in range(3):
        workers.work({"look": Periodic("look", 0.3, look)})
    eventually(lambda: len(times) >= 5)
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert min(gaps) >= 0.3
    assert workers.rows("look/all")[0].status in ("queued", "running")


def test_a_failure_is_not_the_end_of_it(workers: Workers) -> None:
    turns: list[int] = []

    def fails_at_first(_: Operation) -> None:
        turns.append(1)
        if len(turns) < 3:
            raise KeyError("a bug")

    workers.work({"look": Periodic("look", 0.1, fails_at_first)})
    eventually(lambda: len(turns) >= 4)


def test_it_can_be_asked_for_sooner(workers: Workers) -> None:
    turns: list[int] = []
    workers.work({"look": Periodic("look", 1000.0, lambda _: turns.append(1))})
    eventually(lambda: len(turns) == 1)
    eventually(lambda: workers.status("look/all") == "queued")
    workers.ask("look/all")
    eventually(lambda: len(turns) == 2)
    eventually(lambda: workers.status("look/all") == "queued")
    assert workers.rows("look/all")[0].not_before > time.time() + 900


def test_a_handler_may_ask_to_be_run_again(workers: Workers, recorder: Recorder) -> None:
    def act(operation: Operation) -> None:
        if len(recorder.converged["share_server/1"]) < 3:
            operation.repeat_after(0.1)

    recorder.does["share_server/1"] = act
    workers.ask("share_server/1")
    workers.work({"share_server": recorder})
    workers.ends("share_server/1")
    assert len(recorder.converged["share_server/1"]) == 3


def test_old_operations_are_pruned(workers: Workers) -> None:
    def ended(number: int, status: str, days: float) -> dict[str, object]:
        at = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None).isoformat()
        return {
            "id": f"{status}-{days}-{number}",
            "resource": f"share/{number}",
            "lane": "",
            "status": status,
            "again": False,
            "attempts": 0,
            "fence": 1,
            "not_before": 0.0,
            "created_at": at,
            "finished_at": at,
        }

    rows = [ended(number, "done", 3.0) for number in range(1200)]
    rows += [ended(1, "done", 1.0), ended(1, "failed", 30.0), ended(1, "failed", 90.0)]
    with workers.database.begin() as connection:
        connection.execute(insert(operations), rows)
    workers.work({})

    def left() -> list[str]:
        query = select(operations.c.id).where(operations.c.finished_at.is_not(None))
        with workers.database.read() as connection:
            return sorted(connection.execute(query).scalars())

    eventually(lambda: left() == ["done-1.0-1", "failed-30.0-1"])


def test_a_misnamed_periodic_is_refused(workers: Workers) -> None:
    worker = workers.work({})
    with pytest.raises(ValueError, match="look"):
        type(worker)(workers.database, {"other": Periodic("look", 1.0, lambda _: None)})
    with workers.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(operations)).scalar_one() <= 1


def test_another_resource_of_its_name_does_not_come_back(workers: Workers) -> None:
    turns: list[int] = []
    workers.work({"look": Periodic("look", 0.1, lambda _: turns.append(1))})
    workers.ask("look/none")
    workers.ends("look/none", "failed")
    eventually(lambda: len(turns) >= 2)
    assert len(workers.rows("look/none")) == 1


def test_one_that_was_lost_is_planned_again(workers: Workers) -> None:
    turns: list[int] = []
    workers.work({"look": Periodic("look", 1000.0, lambda _: turns.append(1))})
    eventually(lambda: len(turns) == 1)
    eventually(lambda: workers.status("look/all") == "queued")
    with workers.database.begin() as connection:
        connection.execute(delete(operations).where(operations.c.resource == "look/all"))
    eventually(lambda: len(turns) == 2, within=20.0)
