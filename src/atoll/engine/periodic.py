"""Periodic work: one of all workers runs it, and another takes over if that worker dies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from atoll.db import operations
from atoll.db.database import Database
from atoll.engine.operation import Operation
from atoll.errors import Invalid
from atoll.model.states import OperationStatus

log = structlog.get_logger()

KEEP_DONE = timedelta(days=2)
KEEP_FAILED = timedelta(days=60)
"""How long finished operations are kept."""

PRUNING_INTERVAL = 3600.0
"""Seconds between deletions of old operations."""

_BATCH = 500


@dataclass(frozen=True)
class Periodic:
    """A handler whose one resource, ``<name>/all``, converges every ``interval`` seconds.

    Give it to the worker as ``handlers={"reconcile": Periodic("reconcile", 60.0, pass_over)}``.
    ``function`` may run for long, but should call ``operation.check()`` between its steps. If it
    fails, the error is logged, and the function runs again after the next interval.
    """

    name: str
    interval: float
    function: Callable[[Operation], None]

    @property
    def resource(self) -> str:
        """The key of the one resource."""
        return f"{self.name}/all"

    def converge(self, operation: Operation) -> None:
        """Run the function, and schedule the next run even if it fails.

        Raises ``Invalid`` for another resource, which would otherwise be scheduled for ever, too.
        """
        if operation.resource != self.resource:
            raise Invalid(f"The only resource of {self.name} is {self.resource}.")
        operation.repeat_after(self.interval)
        self.function(operation)

    def give_up(self, operation: Operation, error: Exception) -> None:
        """Log the error; there is no row to write."""
        log.error("periodic.failed", name=self.name, error=str(error))


def pruning(database: Database, interval: float = PRUNING_INTERVAL) -> Periodic:
    """Make the periodic work that deletes old finished operations, in small transactions."""

    def prune(operation: Operation) -> None:
        for status, keep in (
            (OperationStatus.DONE, KEEP_DONE),
            (OperationStatus.FAILED, KEEP_FAILED),
        ):
            before = (datetime.now(UTC) - keep).replace(tzinfo=None).isoformat()
            deleted = _BATCH
            while deleted == _BATCH:
                operation.check()
                with database.begin() as connection:
                    deleted = operations.prune(connection, status, before, _BATCH)

    return Periodic("operations", interval, prune)
