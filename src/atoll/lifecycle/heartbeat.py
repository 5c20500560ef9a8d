"""A worker's sign of life, and the capacity that it sees, for the API to show."""

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
"""Manila's name for what our worker does; clients filter services by it."""


BEAT_SECONDS = 10.0
"""Seconds between two heartbeats of a living worker."""

FIRST_LOOK_SECONDS = 5.0
"""So long the first sign of life waits for the pools."""


class Heartbeat:
    """Threads that write this worker's service row every ``interval`` seconds, and see the pools.

    Two, because a worker lives while its cloud is slow, or away: then the pools stay as seen last.
    """

    def __init__(self, backend: Backend, interval: float = BEAT_SECONDS) -> None:
        self._backend = backend
        self._interval = interval
        self._stopping = threading.Event()
        self._looked = threading.Event()
        self._pools: list[dict[str, Any]] | None = None
        self._named = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._eyes = threading.Thread(target=self._watch, name="pools", daemon=True)

    def start(self) -> None:
        """Beat as soon as the pools are known, then go on in the background."""
        self._eyes.start()
        self._thread.start()

    def stop(self) -> None:
        """End the threads; the service is shown as down a minute later."""
        self._stopping.set()
        self._thread.join(timeout=self._interval)

    def beat(self) -> None:
        """Write one sign of life."""
        settings = self._backend.settings
        database = self._backend.database
        database.keep_reserve()
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
        """See what pools there are."""
        self._pools = self._backend.look()
        if not self._named and self._pools:
            self._name_alike(self._pools)
            self._named = True

    def _name_alike(self, pools: Sequence[Mapping[str, Any]]) -> None:
        """Rename the pool in shares of older versions, which have the back end's name there."""
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
        self._looked.wait(FIRST_LOOK_SECONDS)
        while True:
            try:
                self.beat()
            except (AtollError, SQLAlchemyError) as error:
                log.warning("heartbeat.missed", error=str(error))
            except Exception:
                log.exception("heartbeat.missed")  # the thread must go on, or we seem dead
            if self._stopping.wait(self._interval):
                return

    def _watch(self) -> None:
        while True:
            try:
                self.look()
            except (AtollError, SQLAlchemyError) as error:
                log.warning("heartbeat.no_pools", error=str(error))
            except Exception:
                log.exception("heartbeat.no_pools")  # a cloud's odd answer; the next may be better
            self._looked.set()
            if self._stopping.wait(self._interval):
                return
