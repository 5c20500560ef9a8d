"""Reports that a worker is alive, and the pools that it sees, for the API to show."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from atoll.db import placement, services
from atoll.errors import AtollError
from atoll.lifecycle.backend import Backend

log = structlog.get_logger(__name__)

BINARY = "manila-share"
"""Manila's name for the service that a worker provides; clients filter services by it."""


BEAT_SECONDS = 10.0
"""Seconds between two heartbeats of a worker."""

FIRST_BEAT_WAIT = 5.0
"""Longest the first heartbeat waits for pool data, in seconds."""


class Heartbeat:
    """Two threads: one writes the worker's service row every ``interval`` seconds, one reads pools.

    A worker whose cloud is slow or down is still alive, so its heartbeat must not wait for the
    pools. The row then keeps the pools that were seen last.
    """

    def __init__(self, backend: Backend, interval: float = BEAT_SECONDS) -> None:
        self._backend = backend
        self._interval = interval
        self._stopping = threading.Event()
        self._looked = threading.Event()
        self._pools: list[dict[str, Any]] | None = None
        self._named = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._pools_thread = threading.Thread(target=self._watch, name="pools", daemon=True)

    def start(self) -> None:
        """Start both threads. The first heartbeat waits a moment for the pools."""
        self._pools_thread.start()
        self._thread.start()

    def stop(self) -> None:
        """End the threads; the service is shown as down a minute later."""
        self._stopping.set()
        self._thread.join(timeout=self._interval)

    def beat(self) -> None:
        """Write one heartbeat, and notice if the database was restored."""
        settings = self._backend.settings
        database = self._backend.database
        database.keep_reserve()
        self._backend.witness.look()
        with database.begin() as connection:
            services.heartbeat(
                connection,
                BINARY,
                settings.backend_host,
                database.now(connection),
                zone=settings.driver.storage_availability_zone,
                pools=self._pools,
            )

    def look(self) -> None:
        """Read the pools from the cloud."""
        self._pools = self._backend.look()
        if not self._named and self._pools:
            self._name_alike(self._pools)
            self._named = True

    def _name_alike(self, pools: Sequence[Mapping[str, Any]]) -> None:
        """Rename the pool in shares of older versions, which used the back end's name for it."""
        settings, database = self._backend.settings, self._backend.database
        old = settings.driver.share_backend_name
        names = [str(pool["capabilities"]["pool_name"]) for pool in pools]
        if old in names:
            return
        with database.begin() as connection:
            count = placement.name_pools_alike(connection, settings.backend_host, old, names[0])
        if count:
            log.info("heartbeat.pool_renamed", was=old, now=names[0], shares=count)

    def _run(self) -> None:
        self._looked.wait(FIRST_BEAT_WAIT)
        while True:
            try:
                self.beat()
            except (AtollError, SQLAlchemyError) as error:
                log.warning("heartbeat.missed", error=str(error))
            except Exception:
                log.exception("heartbeat.missed")  # without this thread the worker would seem dead
            if self._stopping.wait(self._interval):
                return

    def _watch(self) -> None:
        while True:
            try:
                self.look()
            except (AtollError, SQLAlchemyError) as error:
                log.warning("heartbeat.pools_failed", error=str(error))
            except Exception:
                log.exception("heartbeat.pools_failed")  # any error, as the next answer may be good
            self._looked.set()
            if self._stopping.wait(self._interval):
                return
