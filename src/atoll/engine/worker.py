"""The worker: claims operations, runs their handlers in threads, and writes how they ended.

One thread (``run``) does all writing to the queue. Each round settles the operations that have
ended and claims those that are due in one transaction, so under load many operations share one
commit. If the database does not answer, the outcomes of ended operations are kept, and their leases
renewed, until they can be written.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace

import structlog
from sqlalchemy import Connection

from atoll.db import claims, operations
from atoll.db.claims import Claimed
from atoll.db.database import Database, is_transient
from atoll.db.endings import Ending, settle
from atoll.engine import doorbell, metrics, outcome
from atoll.engine.doorbell import Doorbell
from atoll.engine.leases import Leases
from atoll.engine.operation import Handler, Operation
from atoll.engine.outcome import Outcome
from atoll.engine.periodic import Periodic, pruning
from atoll.engine.retry import Retry
from atoll.engine.upkeep import Upkeep
from atoll.engine.worker_locks import WorkerLocks

log = structlog.get_logger()

_DATABASE_AWAY = 1.0
"""Seconds to wait when the database does not answer."""

_LOCKED = 0.01
"""Seconds to wait when the row of an ended operation is locked."""

_IDLE_WAIT, _IDLE_WAIT_LONGEST = 0.025, 5.0
"""Seconds to wait for a resource without an operation: twice the first value, then doubled."""


class Worker:
    """Runs operations until told to stop.

    ``handlers`` are by resource type. ``name`` says where the worker runs; a unique suffix is added
    to it. ``locks`` let the next worker on this machine take over a dead worker's operations at
    once. ``threads`` is the number of operations at once, and ``lane_width`` the number in one
    lane. Another worker takes over after ``lease`` seconds without a heartbeat. The queue is polled
    every ``poll`` seconds if the doorbell does not ring.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        *,
        name: str | None = None,
        locks: WorkerLocks | None = None,
        threads: int = 32,
        lease: float = 30.0,
        lane_width: int = 4,
        poll: float = 1.0,
        retry: Retry | None = None,
    ) -> None:
        # Containers may all have the same host name, and the worker may be process 1 in each.
        place = name or f"{socket.gethostname()}:{os.getpid()}"
        self.name = f"{place}:{uuid.uuid4().hex[:8]}"
        self.stopping = False
        self._database = database
        self._handlers = {"operations": pruning(database), **handlers}
        for key, handler in self._handlers.items():
            if isinstance(handler, Periodic) and handler.name != key:
                raise ValueError(f"the periodic work {handler.name} is registered as {key}")
        self._threads = threads
        self._lane_width = lane_width
        self._poll = poll
        self._retry = retry or Retry()
        self._leases = Leases(database, self.name, lease)
        self._locks = locks
        self._periodic = [one for one in self._handlers.values() if isinstance(one, Periodic)]
        self._upkeep = Upkeep(database, self._leases, self._periodic, self._retry)
        self._lock = threading.Lock()
        self._running: dict[int, str] = {}  # fence: the lane that it is counted in
        self._ended: list[Outcome] = []
        self._idle_waits: dict[str, int] = {}
        self._give_up_at = float("inf")
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    # --- control ------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until ``stop`` is called (from a signal handler or another thread)."""
        self._leases.start()
        if self._locks is not None:
            self._locks.enter(self.name)
        prepared = False
        pause = 0.0
        with closing(doorbell.listen(self._database, self.name)) as bell:
            while not self._is_over():
                try:
                    rung = self._wait(bell, pause)
                    prepared = prepared or self._prepare(bell)
                    self._upkeep.look()
                    pause = self._round(look=rung or pause == 0.0)
                except Exception as error:
                    self._leases.distrust()
                    log.warning(
                        "worker.database_failed" if is_transient(error) else "worker.failed",
                        error=str(error),
                        exc_info=None if is_transient(error) else error,
                    )
                    time.sleep(_DATABASE_AWAY)
                    pause = 0.0
        self._leases.stop()
        if self._locks is not None:
            self._locks.leave()

    def stop(self, grace: float = 10.0) -> None:
        """Claim no more operations; ``run`` returns when all have ended, or after ``grace`` s.

        Another worker takes over operations that have not ended by then.
        """
        self._give_up_at = time.monotonic() + grace
        self.stopping = True
        self._wake()

    # --- the loop -----------------------------------------------------------------------------

    def _is_over(self) -> bool:
        if not self.stopping:
            return False
        with self._lock:
            is_idle = not self._running and not self._ended
        return is_idle or time.monotonic() >= self._give_up_at

    def _wait(self, bell: Doorbell, pause: float) -> bool:
        """Sleep until the bell rings, an operation ends, or ``pause`` is over; True if it rang."""
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        ring = bell.fileno()
        if ring >= 0:
            poller.register(ring, select.POLLIN)
        if self.stopping:
            pause = min(pause, 0.05)
        awake = {descriptor for descriptor, _ in poller.poll(max(0.0, pause) * 1000)}
        if self._wakeup in awake:
            os.eventfd_read(self._wakeup)
        if ring in awake:
            bell.answer()
        return ring in awake

    def _wake(self) -> None:
        os.eventfd_write(self._wakeup, 1)

    def _prepare(self, bell: Doorbell) -> bool:
        """Release the operations of dead workers, and schedule the periodic work."""
        with self._begin() as connection:
            others = operations.owners(connection) - {self.name}
            gone = {*bell.gone(others), *(self._locks.gone(others) if self._locks else ())}
            left = operations.release(connection, sorted(gone))
            for periodic in self._periodic:
                operations.put_if_absent(connection, periodic.resource)
        if self._locks is not None:
            self._locks.sweep()
        if left:
            log.info("worker.operations_released", operations=left)
        return True

    def _round(self, *, look: bool) -> float:
        """Settle ended operations and claim due ones; return the seconds until the next round."""
        with self._lock:
            ended, self._ended = self._ended, []
            free = 0 if self.stopping else self._threads - len(self._running)
            lanes = Counter(lane for lane in self._running.values() if lane)
        room = {lane: self._lane_width - count for lane, count in lanes.items()}
        if not ended:
            if not free:
                return self._poll
            if not look and (pause := self._peek(room)) > 0:
                return pause
        begun = time.monotonic()
        try:
            with self._begin() as connection:
                locked = self._settle(connection, ended)
                claimed, more = self._claim(connection, free, room) if free else ([], False)
                idle = len(claimed) < free and not more
                due_in = claims.next_due(connection) if idle else None
        except BaseException:
            with self._lock:
                self._ended = ended + self._ended
            raise
        self._settled(ended, locked)
        for one in claimed:
            self._start(Operation(one, self._database, self, begun + self._leases.lease))
        if locked:
            return _LOCKED
        return 0.0 if more else self._pause(due_in)

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """Open a write transaction; after a long wait for it, other workers' leases are distrusted.

        The other workers had to wait for the lock as well, so they could not renew their leases.
        """
        begun = time.monotonic()
        with self._database.begin() as connection:
            if time.monotonic() - begun > self._leases.lease / 6:
                self._leases.distrust()
            yield connection

    def _peek(self, room: dict[str, int]) -> float:
        """Return the seconds until there is something to claim, without taking the write lock."""
        with self._database.read() as connection:
            if claims.any_due(
                connection,
                full_lanes=[lane for lane, count in room.items() if count <= 0],
                mine=self._leases.ids(),
                take_over=self._leases.may_take_over,
            ):
                return 0.0
            return self._pause(claims.next_due(connection))

    def _pause(self, due_in: float | None) -> float:
        # A millisecond is added so that the worker does not wake just before the operation is due.
        return self._poll if due_in is None else min(self._poll, max(due_in, 0.0) + 0.001)

    def _claim(
        self, connection: Connection, free: int, room: dict[str, int]
    ) -> tuple[list[Claimed], bool]:
        return claims.claim(
            connection,
            owner=self.name,
            lease=self._leases.lease,
            free=free,
            lane_room=room,
            lane_width=self._lane_width,
            mine=self._leases.ids(),
            take_over=self._leases.may_take_over,
        )

    # --- endings ------------------------------------------------------------------------------

    def _settle(self, connection: Connection, ended: list[Outcome]) -> set[int]:
        """Write how operations ended; return the fences of those left for the next round."""
        if not ended:
            return set()
        waiting = [one for one in ended if one.ending.waits_for]
        endings = [one.ending for one in ended if not one.ending.waits_for]
        locked = settle(connection, endings)
        # These are written last, because the operation they wait for may have ended in this round.
        locked += settle(connection, [self._wait_for(connection, o) for o in waiting])
        if operations.is_awaited(connection, [one.operation.resource for one in ended]):
            doorbell.ring_for_waiting(connection)
        return {ending.fence for ending in locked}

    def _wait_for(self, connection: Connection, postponed: Outcome) -> Ending:
        """Return an ending that waits for the other resource's operation.

        If that resource has no operation, it was settled after the handler had read it, or nothing
        works on it. So the operation is tried again soon, and then with growing delays.
        """
        ending = postponed.ending
        assert ending.waits_for is not None
        resource = postponed.operation.resource
        if operations.is_busy(connection, ending.waits_for):
            self._idle_waits.pop(resource, None)
            return ending
        count = self._idle_waits[resource] = self._idle_waits.get(resource, 0) + 1
        return replace(ending, delay=min(_IDLE_WAIT_LONGEST, _IDLE_WAIT * 2.0 ** min(count, 16)))

    def _settled(self, ended: list[Outcome], locked: set[int]) -> None:
        for one in ended:
            if one.operation.fence in locked:
                with self._lock:
                    self._ended.append(one)
                continue
            self._leases.remove(one.operation)
            if not one.ending.waits_for:
                self._idle_waits.pop(one.operation.resource, None)
            metrics.OPERATIONS.labels(self._label(one.operation), one.name).inc()

    # --- running ------------------------------------------------------------------------------

    def _start(self, operation: Operation) -> None:
        self._leases.add(operation)
        with self._lock:
            self._running[operation.fence] = operation.lane
        # Each operation has a new thread. That costs 0.1 ms and gives it a fresh logging context,
        # and a daemon thread that hangs on a dead instance can't keep the process from ending.
        name = f"operation {operation.resource}"
        threading.Thread(target=self._work, args=(operation,), name=name, daemon=True).start()

    def _work(self, operation: Operation) -> None:
        structlog.contextvars.bind_contextvars(
            operation_id=operation.id,
            resource=operation.resource,
            request_id=operation.request_id,
        )
        begun = time.monotonic()
        if operation.taken_over:
            log.info("operation.taken_over", attempt=operation.attempt)
        handler = self._handlers.get(operation.resource_type)
        result = outcome.run(handler, operation, self._retry)
        metrics.DURATION.labels(self._label(operation)).observe(time.monotonic() - begun)
        with self._lock:
            self._running.pop(operation.fence)
            self._ended.append(result)
        self._wake()

    def _label(self, operation: Operation) -> str:
        """The operation's label in metrics; unknown types share one, so that labels can't grow."""
        return operation.resource_type if operation.resource_type in self._handlers else "other"

    def change_lane(self, operation: Operation, lane: str) -> bool:
        """Count a running operation in that lane, if it has room (see Operation.set_lane)."""
        with self._lock:
            if lane and list(self._running.values()).count(lane) >= self._lane_width:
                return False
            self._running[operation.fence] = lane
            return True
