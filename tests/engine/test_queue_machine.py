"""The queue under every order of events: nothing is lost, and no two fences write.

Several workers ask, claim, renew, die, freeze, come back and settle, while time passes. Time is
made to pass by moving the rows' times back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, func, select, update

from atoll.db import claims, operations
from atoll.db.claims import Claimed
from atoll.db.database import Database
from atoll.db.endings import Ending, settle
from atoll.db.tables import operations as table
from atoll.engine.queue import enqueue
from atoll.model.states import OperationStatus

LEASE = 30.0
LANE_WIDTH = 2
RESOURCES = [f"share/{number}" for number in range(3)]
WORKERS = ["w0", "w1"]


@dataclass
class Held:
    """A claim as a worker remembers it, which may be a zombie's."""

    worker: str
    row: Claimed
    saw: int
    settled: bool = False


class QueueMachine(RuleBasedStateMachine):
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.wanted = dict.fromkeys(RESOURCES, 0)  # how often it was asked for
        self.made = dict.fromkeys(RESOURCES, 0)  # the wish that the last run has served
        self.claims: list[Held] = []
        self.newest: dict[str, Held] = {}  # by operation id
        self.last_fence = 0
        with self.database.begin() as connection:
            connection.execute(delete(table))

    # --- what happens -------------------------------------------------------------------------

    @rule(
        resource=st.sampled_from(RESOURCES),
        delay=st.sampled_from([0.0, 0.0, 20.0]),
        lane=st.sampled_from(["", "lane"]),
        request_id=st.sampled_from([None, "req-1"]),
    )
    def ask(self, resource: str, delay: float, lane: str, request_id: str | None) -> None:
        with self.database.begin() as connection:
            enqueue(connection, resource, delay=delay, lane=lane, request_id=request_id)
        self.wanted[resource] += 1

    @rule(
        worker=st.sampled_from(WORKERS),
        free=st.integers(1, 4),
        take_over=st.booleans(),
        after=st.sampled_from([0.0, 10.0, 40.0]),
    )
    def claim(self, worker: str, free: int, take_over: bool, after: float) -> None:
        self.time_passes(after)
        mine = [one for one in self.claims if one.worker == worker and not one.settled]
        in_lane = sum(1 for one in mine if one.row.lane == "lane")
        with self.database.begin() as connection:
            claimed, _ = claims.claim(
                connection,
                owner=worker,
                lease=LEASE,
                free=free,
                lane_room={"lane": LANE_WIDTH - in_lane},
                lane_width=LANE_WIDTH,
                mine=[one.row.id for one in mine],
                take_over=take_over,
            )
        assert len(claimed) <= free
        assert in_lane + sum(1 for row in claimed if row.lane == "lane") <= max(LANE_WIDTH, in_lane)
        for row in claimed:
            assert row.fence > self.last_fence
            self.last_fence = row.fence
            before = self.newest.get(row.id)
            assert row.taken_over == (before is not None and not before.settled)
            held = Held(worker, row, self.wanted[row.resource])
            self.claims.append(held)
            self.newest[row.id] = held

    @rule(worker=st.sampled_from(WORKERS))
    def renew(self, worker: str) -> None:
        mine = [one for one in self.claims if one.worker == worker and not one.settled]
        with self.database.begin() as connection:
            fences = operations.renew(connection, worker, [one.row.id for one in mine], LEASE)
        for one in mine:
            assert (fences.get(one.row.id) == one.row.fence) == self._is_holder(one)

    @precondition(lambda self: self.claims)
    @rule(which=st.integers(0, 5))
    def write(self, which: int) -> None:
        one = self._claim(which)
        with self.database.begin() as connection:
            may_write = operations.hold(connection, one.row.id, one.row.fence)
        assert may_write == self._is_holder(one)

    @precondition(lambda self: self.claims)
    @rule(
        which=st.integers(0, 5),
        how=st.sampled_from(["done", "failed", "repeat", "retried", "postponed", "released"]),
        other=st.sampled_from(RESOURCES),
    )
    def settle(self, which: int, how: str, other: str) -> None:
        one = self._claim(which)
        endings: dict[str, dict[str, Any]] = {
            "done": {},
            "failed": {"status": OperationStatus.FAILED, "error": "no"},
            "repeat": {"requeue": True, "delay": 50.0},
            "retried": {"requeue": True, "fresh": False, "failed_tries": 1, "delay": 5.0},
            "postponed": {"requeue": True, "fresh": False, "waits_for": other},
            "released": {"requeue": True, "fresh": False},
        }
        ending = Ending(one.row.id, one.row.fence, one.row.lane, **endings[how])
        is_holder = self._is_holder(one)
        before = self._row(one.row.id)
        with self.database.begin() as connection:
            assert settle(connection, [ending]) == []
        after = self._row(one.row.id)
        if not is_holder:
            assert before == after
            return
        one.settled = True
        assert self._has_failed(one) == (how == "failed")  # also if it was asked for again
        assert after.status != "running"
        if before.again:
            assert after.status == "queued"
        if how in ("done", "failed", "repeat"):
            self.made[one.row.resource] = one.saw

    def time_passes(self, seconds: float) -> None:
        with self.database.begin() as connection:
            connection.execute(
                update(table).values(
                    not_before=table.c.not_before - seconds,
                    lease_until=table.c.lease_until - seconds,
                )
            )

    @rule(worker=st.sampled_from(WORKERS))
    def process_is_replaced(self, worker: str) -> None:
        with self.database.begin() as connection:
            operations.release(connection, [worker])

    # --- what always holds --------------------------------------------------------------------

    @invariant()
    def at_most_one_active_a_resource(self) -> None:
        with self.database.read() as connection:
            counts = connection.execute(
                select(func.count())
                .where(table.c.status.in_(["queued", "running"]))
                .group_by(table.c.resource)
            ).scalars()
            assert all(count == 1 for count in counts)

    def teardown(self) -> None:
        """In the end, when those who live have done all there is, every wish was served."""
        for _ in range(3 * len(RESOURCES)):
            self.time_passes(1000.0)
            with self.database.begin() as connection:
                claimed, _ = claims.claim(
                    connection,
                    owner="last",
                    lease=LEASE,
                    free=10,
                    lane_room={},
                    lane_width=10,
                    mine=[],
                    take_over=True,
                )
                for row in claimed:
                    settle(connection, [Ending(row.id, row.fence, row.lane)])
                    self.made[row.resource] = self.wanted[row.resource]
                if not claimed:
                    break
        with self.database.read() as connection:
            assert operations.depth(connection) == {"queued": 0, "running": 0}
        assert self.made == self.wanted

    def _claim(self, which: int) -> Held:
        """One of the last claims; 0 is the newest."""
        return self.claims[-1 - which % len(self.claims)]

    def _is_holder(self, one: Held) -> bool:
        return self.newest[one.row.id] is one and not one.settled

    def _has_failed(self, one: Held) -> bool:
        is_failure = (table.c.status == OperationStatus.FAILED, table.c.fence == one.row.fence)
        with self.database.read() as connection:
            return len(connection.execute(select(table).where(*is_failure)).all()) == 1

    def _row(self, operation_id: str) -> Any:
        with self.database.read() as connection:
            return connection.execute(select(table).where(table.c.id == operation_id)).one()


@pytest.mark.timeout(300)
def test_the_queue_in_every_order_of_events(database: Database) -> None:
    run_state_machine_as_test(
        type("QueueMachine", (QueueMachine,), {"database": database}),
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
