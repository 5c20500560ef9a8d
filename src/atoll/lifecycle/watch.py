"""Watches service instances every two seconds, so that a failure is noticed soon.

It asks the cloud which instances have ended, and the instances themselves, over the channels that
are open, for signs of life. What it notices only leads to a check of the server (``examination``),
which decides. An instance without an open channel is left to the reconcile pass.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from atoll.db import share_servers
from atoll.engine.queue import enqueue
from atoll.errors import AtollError
from atoll.lifecycle.backend import Backend
from atoll.model.keys import server_key, split

log = structlog.get_logger(__name__)

INTERVAL = 2.0
"""Seconds between two looks."""
QUIET = 4.0
"""Seconds without a sign of life after which a server is checked."""


class Watch:
    """A thread of each worker process. The clock is monotonic."""

    def __init__(
        self,
        backend: Backend,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._interval = interval
        self._clock = clock
        self._looked_at = clock()
        self._quiet: dict[str, float] = {}
        self._stopped: set[str] = set()
        # What was noticed stays here until its checks are requested, which may fail.
        self._quiet_servers: set[str] = set()
        self._stopped_instances: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout=self._interval)

    def look(self) -> None:
        """Request a check of each server that has stopped or become quiet since the last look."""
        self._quiet_servers |= self._newly_quiet()
        self._stopped_instances |= self._newly_stopped()
        if not self._quiet_servers and not self._stopped_instances:
            return
        host = self._backend.settings.backend_host
        with self._backend.database.begin() as connection:
            servers = share_servers.to_be_checked(
                connection, host, self._quiet_servers, self._stopped_instances
            )
            # All that became quiet together are marked before the first of them is examined, so
            # that a common cause is seen.
            share_servers.mark_silent(connection, servers, time.time())
            for server_id in servers:
                enqueue(connection, server_key(server_id))
        self._quiet_servers.clear()
        self._stopped_instances.clear()
        for server_id in servers:
            log.warning("watch.check_requested", share_server_id=server_id)

    def _newly_quiet(self) -> set[str]:
        """Ids of the servers whose channels have been quiet for long enough by now.

        Only the time between two looks counts, and not much more than the interval, so that a
        process that was frozen itself holds nothing against the instances.
        """
        now = self._clock()
        passed, self._looked_at = min(now - self._looked_at, 2 * self._interval), now
        signs = self._backend.ping()
        self._quiet = {
            key: self._quiet.get(key, 0.0) + passed for key, alive in signs.items() if not alive
        }
        found = {key for key, seconds in self._quiet.items() if seconds >= QUIET}
        for key in found:
            self._backend.lost(key, self._quiet.pop(key))
        return {split(key)[1] for key in found}

    def _newly_stopped(self) -> set[str]:
        """Ids of the instances that have stopped since the last look."""
        stopped = self._backend.cloud.compute.stopped()
        new, self._stopped = stopped - self._stopped, stopped
        return new

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self.look()
            except (AtollError, SQLAlchemyError) as error:
                log.warning("watch.failed", error=str(error))
            except Exception:
                log.exception("watch.failed")  # any error, because the next look may succeed
