"""Checks the queue every few seconds, and corrects its times after the clock was wrong.

Due times and leases that are later than any normal delay are shortened, and periodic work that is
missing from the queue is added.
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
"""Seconds between two checks."""

STEP = 2.0
"""Seconds by which the database's clock may move against this host's between two checks."""

LONGEST_DELAY = 60.0
"""Longest delay of an operation in seconds, apart from periodic work and longer retries."""


class Upkeep:
    """The checks of one worker, called from its loop."""

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
        """Check the queue if a check is due, and always check whether the clock has jumped."""
        if self._database.is_sqlite:
            self._watch_clock(time.time() - time.monotonic())
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + INTERVAL
        with self._database.read() as connection:
            if not self._database.is_sqlite:
                self._watch_clock(self._database.now(connection) - time.monotonic())
            too_late = dues.too_late(connection, self._longest)
            missing = set(self._periods) - operations.active(connection, self._periods)
        if not too_late and not missing:
            return
        if too_late:
            log.warning("queue.times_corrected", resources=too_late[:20], count=len(too_late))
        with self._database.begin() as connection:
            dues.pull_back(connection, self._longest)
            for resource in missing:
                operations.put_if_absent(connection, resource)

    def _watch_clock(self, offset: float) -> None:
        """Distrust leases after the clock was stepped, which makes live leases seem over."""
        if self._offset is not None and abs(offset - self._offset) > STEP:
            log.warning("clock.stepped", seconds=round(offset - self._offset, 1))
            self._leases.distrust()
        self._offset = offset
