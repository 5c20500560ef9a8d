"""A worker's sign of life, and the capacity that it sees, for the API to show."""

from __future__ import annotations

import threading

import structlog
from sqlalchemy.exc import DBAPIError

from atoll.db import services
from atoll.errors import AtollError
from atoll.lifecycle.backend import Backend

log = structlog.get_logger(__name__)

BINARY = "manila-share"
"""The field's name for what our worker does; clients filter services by it."""


class Heartbeat:
    """A thread that writes this worker's service row every ``interval`` seconds."""

    def __init__(self, backend: Backend, interval: float = 10.0) -> None:
        self._backend = backend
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Beat at once, then go on in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the service is shown as down a minute later."""
        self._stopping.set()
        self._thread.join(timeout=self._interval)

    def beat(self) -> None:
        """Write one sign of life."""
        settings = self._backend.settings
        stats = self._backend.driver(None).get_share_stats(refresh=True)
        pools = [
            {"name": f"{settings.backend_host}#{pool['pool_name']}", "capabilities": pool}
            for pool in stats.get("pools", [])
        ]
        database = self._backend.database
        with database.begin() as connection:
            services.heartbeat(
                connection,
                BINARY,
                settings.backend_host,
                database.now(connection),
                zone=settings.driver.storage_availability_zone,
                pools=pools,
            )

    def _run(self) -> None:
        while True:
            try:
                self.beat()
            except (AtollError, DBAPIError) as error:
                log.warning("heartbeat.missed", error=str(error))
            if self._stopping.wait(self._interval):
                return
