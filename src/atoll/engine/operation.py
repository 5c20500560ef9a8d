"""What a handler is given: the operation that it works on, and the right to write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy import Connection

from atoll.db import operations
from atoll.db.claims import Claimed
from atoll.db.database import Database
from atoll.errors import LaneFull, LeaseLost, WorkerStopping


class Shift(Protocol):
    """What an operation needs of the worker that runs it."""

    stopping: bool

    def change_lane(self, operation: Operation, lane: str) -> bool:
        """Count the operation in that lane, if it has room."""


class Operation:
    """One convergence of one resource, held under a lease."""

    def __init__(self, claimed: Claimed, database: Database, shift: Shift, until: float) -> None:
        self.id: str = claimed.id
        self.resource: str = claimed.resource
        """``<type>/<id>``, e.g. ``share/0f3c…``."""
        self.resource_type, _, self.resource_id = claimed.resource.partition("/")
        self.fence: int = claimed.fence
        """Grows with every claim of any operation; hand it to the guest agent."""
        self.attempt: int = claimed.attempts + 1
        """1 for the first try."""
        self.request_id: str | None = claimed.request_id
        self.asked_at: str = claimed.created_at
        """UTC, as the ``*_at`` columns have it."""
        self.taken_over: bool = claimed.taken_over
        """Whether another worker began it and died."""
        self.lane: str = claimed.lane
        self.repeat: float | None = None
        self._database = database
        self._shift = shift
        self._until = until

    def transaction(self) -> AbstractContextManager[Connection]:
        """Open a write transaction that only the holder of the newest fence gets.

        Raises LeaseLost (nothing was written) if another worker has taken the operation over.
        """
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._database.begin() as connection:
            if not operations.hold(connection, self.id, self.fence):
                self._until = 0.0
                raise LeaseLost
            yield connection

    def check(self) -> None:
        """Raise LeaseLost if the lease has ended, WorkerStopping if the worker stops.

        Costs nothing (no query): call it between the steps and in waiting loops, and let it pass.
        """
        if time.monotonic() > self._until:
            raise LeaseLost
        if self._shift.stopping:
            raise WorkerStopping

    def set_lane(self, lane: str) -> None:
        """Say which share server this operation keeps busy, once that is known.

        Raises LaneFull, which the handler lets pass: the operation is put back and starts again
        when the lane has room.
        """
        if lane == self.lane:
            return
        has_room = self._shift.change_lane(self, lane)
        self.lane = lane
        if not has_room:
            raise LaneFull

    def repeat_after(self, seconds: float) -> None:
        """Have this resource converged again so long after this one has ended (well or not)."""
        self.repeat = seconds

    # --- the worker's side --------------------------------------------------------------------

    def renewed(self, until: float) -> None:
        """Note that the lease is good until then (by the monotonic clock); 0 if it is lost."""
        self._until = until

    @property
    def is_lost(self) -> bool:
        """Whether another worker is known to have taken this over."""
        return self._until == 0.0


class Handler(Protocol):
    """Makes the resources of one type what their rows say."""

    def converge(self, operation: Operation) -> None:
        """Read the row, make it true, write the state; safe to run again after a crash anywhere.

        Raises Postponed to wait for another resource, a retryable AtollError to be tried again
        later; on any other exception ``give_up`` follows.
        """

    def give_up(self, operation: Operation, error: Exception) -> None:
        """Write the error state and tell the user: ``converge`` failed with ``error`` for good."""
