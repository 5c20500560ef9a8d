"""``/healthcheck`` and ``/metrics``: for load balancers and Prometheus; neither needs a token."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import falcon
import msgspec
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from atoll.api.frame.call import Service
from atoll.api.frame.edge import Metrics
from atoll.db import services
from atoll.db.database import Database

log = structlog.get_logger(__name__)

PATIENCE: Final = 0.7
"""Seconds that a look at the database may take before it counts as no answer."""

State = Mapping[str, Any]

AWAY: Final[State] = {"database": "unreachable", "worker": "none"}


class Look:
    """One check of the database, in a thread of its own, because it may hang for ever."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._begun = time.monotonic()
        self._done = threading.Event()
        self._state = AWAY
        threading.Thread(target=self._run, name="healthcheck", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether it has come to an end."""
        return self._done.is_set()

    def state(self) -> State:
        """The result; if the check hangs, that the database does not answer."""
        self._done.wait(max(0.0, self._begun + PATIENCE - time.monotonic()))
        return self._state if self._done.is_set() else AWAY

    def _run(self) -> None:
        try:
            self._state = self._see()
        except (SQLAlchemyError, OSError) as error:
            log.warning("healthcheck.database", error=str(error))
        finally:
            self._done.set()

    def _see(self) -> State:
        state: dict[str, Any] = {"database": "ok", "worker": "none"}
        with self._database.read() as connection:
            now = self._database.now(connection)
            found = services.every(connection, now)
        workers = [row for row in found if not row["binary"].endswith("api")]
        if workers:
            newest = min(workers, key=lambda row: abs(now - float(row["heartbeat"])))
            state["worker"] = newest["state"]
            state["worker_heartbeat_age_seconds"] = round(now - newest["heartbeat"], 1)
        return state


class Healthcheck:
    """200 while the database answers and a worker is alive; otherwise 503, and why.

    It always answers within a second. Requests at the same time share one check.
    """

    def __init__(self, service: Service) -> None:
        self._database = service.database
        self._lock = threading.Lock()
        self._look: Look | None = None

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The state of what a request needs."""
        with self._lock:
            if self._look is None or self._look.is_over:
                self._look = Look(self._database)
            look = self._look
        state = look.state()
        healthy = state["database"] == "ok" and state["worker"] == "up"
        response.status = 200 if healthy else 503
        response.content_type = falcon.MEDIA_JSON
        response.data = msgspec.json.encode({"healthy": healthy, **state})

    def on_options(self, request: falcon.Request, response: falcon.Response) -> None:
        """The same as GET: some load balancers probe by OPTIONS, and need to see a failure."""
        self.on_get(request, response)
        response.set_header("Allow", "GET, HEAD, OPTIONS")


class MetricsPage:
    """Prometheus' text format."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """All metrics of this process."""
        response.content_type = CONTENT_TYPE_LATEST
        response.data = generate_latest(self._metrics.registry)
