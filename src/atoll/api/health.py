"""``/healthcheck`` and ``/metrics``: for load balancers and Prometheus; neither needs a token."""

from __future__ import annotations

from typing import Any

import falcon
import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import DBAPIError

from atoll.api.call import Rooms
from atoll.api.edge import Metrics
from atoll.db import services


class Healthcheck:
    """200 while the database answers and a worker is alive; otherwise 503, and why."""

    def __init__(self, rooms: Rooms) -> None:
        self._database = rooms.database

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The state of what a request needs."""
        state: dict[str, Any] = {"database": "ok", "worker": "none"}
        try:
            with self._database.read() as connection:
                now = self._database.now(connection)
                found = services.every(connection, now)
        except DBAPIError:
            state["database"], found, now = "unreachable", [], 0.0
        workers = [row for row in found if not row["binary"].endswith("api")]
        if workers:
            newest = min(workers, key=lambda row: abs(now - float(row["heartbeat"])))
            state["worker"] = newest["state"]
            state["worker_heartbeat_age_seconds"] = round(now - newest["heartbeat"], 1)
        healthy = state["database"] == "ok" and state["worker"] == "up"
        response.status = 200 if healthy else 503
        response.content_type = falcon.MEDIA_JSON
        response.data = msgspec.json.encode({"healthy": healthy, **state})


class MetricsPage:
    """Prometheus' text format."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """All metrics of this process."""
        response.content_type = CONTENT_TYPE_LATEST
        response.data = generate_latest(self._metrics.registry)
