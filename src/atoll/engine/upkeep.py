"""Looks every few seconds whether the queue is as it should be, whatever happened to the clock.

What is due, or held, until a time further ahead than anything is ever planned for is pulled back,
and periodic work that is not in the queue is put there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import structlog

from atoll.db import dues, operations
from atoll.db.database import Database
from atoll.db.dues import Longest
from atoll.engine.leases import Leases
from atoll.engine.periodic import Periodic
from atoll.engine.retry import Retry

log = structlog.get_logger()

INTERVAL = 5.0
"""Seconds between two looks."""

STEP = 2.0
"""Seconds by which the database's clock may differ from ours after a look, without a warning."""

LONGEST_DELAY = 60.0
"""Seconds until due that no operation exceeds but periodic work (and longer retries)."""


class Upkeep:
    """One worker's; called from its loop."""

    def __init__(
        self, database: Database, leases: Leases, periodic: Iterable[Periodic], retry: Retry
    ) -> None:
        self._database = database
        self._leases = leases
        self._periods = {each.resource: each.interval for each in periodic}
        delay = max(LONGEST_DELAY, retry.longest)
        self._longest = Longest(delay, leases.lease, self._periods)
        self._next = 0.0
        self._offset: float | None = None

    def look(self) -> None:
        """Look, if it is time to; and at this machine's clock, which SQLite goes by, each time."""
        if self._database.is_sqlite:
            self._watch_clock(time.time() - time.monotonic())
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + INTERVAL
        with self._database.read() as connection:
            if not self._database.is_sqlite:
                self._watch_clock(self._database.now(connection) - time.monotonic())
            astray = dues.astray(connection, self._longest)
            missing = set(self._periods) - operations.active(connection, self._periods)
        if not astray and not missing:
            return
        if astray:
            log.warning("queue.pulled_back", resources=astray[:20], count=len(astray))
        with self._database.begin() as connection:
            dues.pull_back(connection, self._longest)
            for resource in missing:
                operations.put_if_absent(connection, resource)

    def _watch_clock(self, offset: float) -> None:
        """After a step of the clock leases seem to have ended though their holders live."""
        if self._offset is not None and abs(offset - self._offset) > STEP:
            log.warning("clock.stepped", seconds=round(offset - self._offset, 1))
            self._leases.distrust()
        self._offset = offset
