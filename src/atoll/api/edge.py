"""The outermost layer: every request gets an id, is timed, counted and logged; paths are cleaned.

Old clients write ``/v2/{project_id}/shares`` and ``/v2//shares``; behind this layer both are
``/v2/shares``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import uuid4

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from structlog.contextvars import bind_contextvars, clear_contextvars

from atoll.api import versions

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

log = structlog.get_logger(__name__)

_SLASHES: Final = re.compile(r"//+")
_PROJECT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """What ``/metrics`` shows of the API itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "atoll_api_requests",
            "Requests by route, method and code.",
            ("route", "method", "code"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "atoll_api_request_seconds",
            "Time to answer, by route and method.",
            ("route", "method"),
            buckets=_BUCKETS,
            registry=self.registry,
        )


class Edge:
    """WSGI filter around everything."""

    def __init__(self, inner: Application, metrics: Metrics, collections: frozenset[str]) -> None:
        self._inner = inner
        self._metrics = metrics
        self._collections = collections

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        started = time.perf_counter()
        request_id = f"req-{uuid4()}"
        environ["atoll.request_id"] = request_id
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        self._clean(environ)
        method = environ["REQUEST_METHOD"]

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            headers.extend(_own_headers(environ, request_id))
            self._count(environ, method, status[:3], time.perf_counter() - started)
            return start_response(status, headers, exc_info)

        return self._inner(environ, start)

    def _clean(self, environ: Environ) -> None:
        """One slash where there are several; no project in front of the collection."""
        path = environ.get("PATH_INFO") or "/"
        if "//" in path:
            path = _SLASHES.sub("/", path)
        if len(path) > len("/v2/"):
            path = path.rstrip("/")
        parts = path.split("/", 4)
        if (
            len(parts) > 3
            and parts[1] == "v2"
            and parts[2] not in self._collections
            and (parts[3] in self._collections)
            and _PROJECT.fullmatch(parts[2])
        ):
            environ["atoll.url_project"] = parts[2]
            path = "/".join(["", "v2", *parts[3:]])
        environ["PATH_INFO"] = path

    def _count(self, environ: Environ, method: str, code: str, seconds: float) -> None:
        route = environ.get("atoll.route", "unknown")
        if route == "unknown":
            method = "any"
        self._metrics.requests.labels(route, method, code).inc()
        self._metrics.seconds.labels(route, method).observe(seconds)
        log.info(
            "request",
            method=environ["REQUEST_METHOD"],
            path=environ["PATH_INFO"],
            code=int(code),
            seconds=round(seconds, 4),
        )


def _own_headers(environ: Environ, request_id: str) -> list[tuple[str, str]]:
    headers = [
        ("x-compute-request-id", request_id),
        ("x-openstack-request-id", request_id),
    ]
    version = environ.get("atoll.version")
    if version is not None:
        headers.append((versions.HEADER, version))
        headers.append(("Vary", versions.HEADER))
    return headers
