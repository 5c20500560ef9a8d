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

import falcon
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from structlog.contextvars import bind_contextvars, clear_contextvars

from atoll.api.frame import versions

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

log = structlog.get_logger(__name__)

_SLASHES: Final = re.compile(r"//+")
_BEFORE_KEY: Final = re.compile(r"/+v2(?:/+[^/]+)+?/+(?:metadata|extra_specs)/")
"""The part of a path before a key that a user has chosen. The key itself may contain slashes."""
_PROJECT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]{1,5})?")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that are counted by name. Clients may send any word, and each would be kept for ever."""
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
        if method == "HEAD":  # a GET without its body, wherever there is a GET
            environ["REQUEST_METHOD"] = "GET"

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            headers.extend(_own_headers(environ, request_id))
            self._count(environ, method, status[:3], time.perf_counter() - started)
            return start_response(status, headers, exc_info)

        answer = self._inner(environ, start)
        if method == "HEAD":
            _close(answer)
            return ()
        return answer

    def _clean(self, environ: Environ) -> None:
        """One slash where there are several; no project in front of the collection."""
        path, key = environ.get("PATH_INFO") or "/", ""
        if "//" in path or path.endswith("/"):
            path, key = _without_key(path)
            path = _SLASHES.sub("/", path)
            if len(path) > len("/v2/") and not key:
                path = path.rstrip("/")
            path += key
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
        counted = method if method in _METHODS else "other"
        if route == "unknown":
            counted = "any"
        self._metrics.requests.labels(route, counted, code).inc()
        self._metrics.seconds.labels(route, counted).observe(seconds)
        log.info(
            "request",
            method=method,
            path=environ["PATH_INFO"],
            code=int(code),
            seconds=round(seconds, 4),
        )


def _close(answer: Iterable[bytes]) -> None:
    close = getattr(answer, "close", None)
    if close is not None:
        close()


def is_host(text: str) -> bool:
    """Whether it is a host, perhaps with a port, as the header Host must be."""
    return _HOST.fullmatch(text) is not None


def base_url(request: falcon.Request, public_url: str) -> str:
    """The endpoint as the client knows it, without a slash at the end: what all links begin with.

    If the operator has set ``public_url``, nothing that a client sends changes it.
    """
    return public_url.rstrip("/") or str(request.prefix)


def _without_key(path: str) -> tuple[str, str]:
    """A path in two parts: what comes before the key, and the key, which may be empty."""
    before = _BEFORE_KEY.match(path)
    return (path[: before.end()], path[before.end() :]) if before else (path, "")


def _own_headers(environ: Environ, request_id: str) -> list[tuple[str, str]]:
    headers = [
        ("x-compute-request-id", request_id),
        ("x-openstack-request-id", request_id),
    ]
    version = environ.get("atoll.version")
    if version is not None:
        headers.append((versions.HEADER, version))
        headers.append(("Vary", versions.HEADER))
    if environ.get("atoll.experimental"):
        headers.append((versions.EXPERIMENTAL, "True"))
    return headers
