"""What a handler receives: the operation that it works on, and the right to write."""

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


class OperationRunner(Protocol):
    """What an operation needs from the worker that runs it."""

    stopping: bool

    def change_lane(self, operation: Operation, lane: str) -> bool:
        """Count the operation in that lane; False if the lane is full."""


class Operation:
    """One convergence of one resource, held under a lease."""

    def __init__(
        self, claimed: Claimed, database: Database, runner: OperationRunner, until: float
    ) -> None:
        self.id: str = claimed.id
        self.resource: str = claimed.resource
        """``<type>/<id>``, e.g. ``share/0f3c…``."""
        self.resource_type, _, self.resource_id = claimed.resource.partition("/")
        self.fence: int = claimed.fence
        """Grows with every claim of any operation; the guest agent rejects older ones."""
        self.attempt: int = claimed.attempts + 1
        """1 for the first try."""
        self.request_id: str | None = claimed.request_id
        self.asked_at: str = claimed.created_at
        """UTC, in the format of the ``*_at`` columns."""
        self.taken_over: bool = claimed.taken_over
        """Whether another worker started it and died."""
        self.lane: str = claimed.lane
        self.repeat: float | None = None
        self._database = database
        self._runner = runner
        self._until = until

    def transaction(self) -> AbstractContextManager[Connection]:
        """Open a write transaction, which only the holder of the newest fence gets.

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

        It runs no query. Call it between steps and in waiting loops; don't catch what it raises.
        """
        if time.monotonic() > self._until:
            raise LeaseLost
        if self._runner.stopping:
            raise WorkerStopping

    def check_fence(self) -> None:
        """Raise LeaseLost if another worker has taken over, by asking the database.

        Call it right before what can't be undone.
        """
        with self.transaction():
            pass

    def set_lane(self, lane: str) -> None:
        """Set the share server that this operation keeps busy, once it is known.

        Raises LaneFull, which the handler must not catch: the operation is queued again and starts
        from the beginning when the lane has room.
        """
        if lane == self.lane:
            return
        has_room = self._runner.change_lane(self, lane)
        self.lane = lane
        if not has_room:
            raise LaneFull

    def repeat_after(self, seconds: float) -> None:
        """Run the operation again ``seconds`` after its end, even if it fails."""
        self.repeat = seconds

    # --- the worker's side --------------------------------------------------------------------

    def renewed(self, until: float) -> None:
        """Record until when the lease is valid (monotonic clock); 0 means that it is lost."""
        self._until = until

    @property
    def is_lost(self) -> bool:
        """Whether another worker is known to have taken over the operation."""
        return self._until == 0.0


class Handler(Protocol):
    """Brings resources of one type into the state that their rows describe."""

    def converge(self, operation: Operation) -> None:
        """Read the row, do what it asks for and write the new state.

        It is safe to run again after a crash at any point. It raises Postponed to wait for another
        resource, and a retryable AtollError to be tried again later. After any other exception,
        ``give_up`` is called.
        """

    def give_up(self, operation: Operation, error: Exception) -> None:
        """Write the error state and tell the user, after ``converge`` finally failed."""
