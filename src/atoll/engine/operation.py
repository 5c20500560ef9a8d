"""What a handler is given: the operation that it works on, and the right to write."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection


class Operation:
    """One convergence of one resource, held under a lease."""

    id: str
    resource: str
    """``<type>/<id>``, e.g. ``share/0f3c…``."""
    fence: int
    """Grows with every claim of any operation; hand it to the guest agent."""
    attempt: int
    """1 for the first try."""
    request_id: str | None

    @property
    def resource_type(self) -> str:
        """The part of ``resource`` before the slash."""
        raise NotImplementedError

    @property
    def resource_id(self) -> str:
        """The part of ``resource`` after the slash."""
        raise NotImplementedError

    def transaction(self) -> AbstractContextManager[Connection]:
        """Open a write transaction that only the holder of the newest fence gets.

        Raises LeaseLost (nothing was written) if another worker has taken the operation over.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Raise LeaseLost if the lease is known to be lost, or the worker is stopping.

        Costs nothing (no query): call it between the steps and in waiting loops.
        """
        raise NotImplementedError

    def set_lane(self, lane: str) -> None:
        """Say which share server this operation keeps busy, once that is known.

        Raises LaneFull, which the handler lets pass: the operation is put back and starts again
        when the lane has room.
        """
        raise NotImplementedError

    def repeat_after(self, seconds: float) -> None:
        """Have this resource converged again so long after this one has ended (well or not)."""
        raise NotImplementedError


class Handler(Protocol):
    """Makes the resources of one type what their rows say."""

    def converge(self, operation: Operation) -> None:
        """Read the row, make it true, write the state; safe to run again after a crash anywhere.

        Raises Postponed to wait for another resource, a retryable AtollError to be tried again
        later; on any other exception ``give_up`` follows.
        """

    def give_up(self, operation: Operation, error: Exception) -> None:
        """Write the error state and tell the user: ``converge`` failed with ``error`` for good."""
