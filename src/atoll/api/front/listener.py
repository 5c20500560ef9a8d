"""The loop that watches all connections, and the threads that answer."""

from __future__ import annotations

import logging
import resource
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from atoll.api.frame.edge import Application
from atoll.api.front.connection import Connection
from atoll.api.front.interest import Interest
from atoll.api.front.parser import LARGEST_HEADER

log = structlog.get_logger(__name__)

QUICK_PATHS: Final = frozenset({"", "v2", "healthcheck", "metrics"})
"""Threads for requests that never wait for the database, so that others can't delay them."""
QUICK_THREADS: Final = 2
SPARE_DESCRIPTORS: Final = 256
"""Files that the process opens for itself."""
MOST_HELD: Final = 256 * 2**20
"""Bytes of unfinished requests and unread answers of all clients together."""
GRACE: Final = 10.0
"""Seconds that answers under way have to end when the server stops."""
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for clients."""

    threads: int
    connections: int
    request_timeout: float
    idle_timeout: float
    body_bytes: int


class Listener(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """One listening socket."""

    channel_class = Connection

    def __init__(self, front: Front, sock: socket.socket) -> None:
        self.front = front
        self.interest = front.interest
        super().__init__(
            front.application,
            front.interest,
            True,
            sock,
            dispatcher=front.threads,
            adj=front.adjustments,
            sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
            bind_socket=False,
        )

    def readable(self) -> bool:
        """Whether new connections are accepted."""
        return bool(self.accepting)

    def handle_accept(self) -> None:
        """Accept a connection; if the limit is reached, close the one that is idle longest."""
        if self.front.has_room():
            super().handle_accept()
            return
        accepted = self.accept()
        if accepted is not None:
            with suppress(OSError):
                accepted[0].send(_BUSY)
            accepted[0].close()

    def add_task(self, task: Any) -> None:
        """Have a request answered."""
        request = task.requests[0]
        quick = request.error or request.path.strip("/") in QUICK_PATHS
        (self.front.quick if quick else self.front.threads).add_task(task)

    def pull_trigger(self) -> None:
        """Nothing: threads change a connection's interest themselves."""


class Front:
    """The server."""

    def __init__(
        self, application: Application, sockets: Iterable[socket.socket], limits: Limits
    ) -> None:
        for name in ("waitress", "waitress.queue"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.application = application
        self.interest = Interest()
        self.threads, self.quick = ThreadedTaskDispatcher(), ThreadedTaskDispatcher()
        self.threads.set_thread_count(limits.threads)
        self.quick.set_thread_count(QUICK_THREADS)
        self.adjustments = Adjustments(
            max_request_header_size=LARGEST_HEADER,
            max_request_body_size=limits.body_bytes + 1,
            outbuf_overflow=1 << 30,  # answers are kept in memory: the disk may be full
            outbuf_high_watermark=1 << 30,
            inbuf_overflow=limits.body_bytes + 2,
            clear_untrusted_proxy_headers=False,  # nobody reads them
            ident="atoll",
            log_socket_errors=False,
        )
        self._limits = limits
        descriptors = _descriptors()
        spare = min(SPARE_DESCRIPTORS, descriptors // 2)
        self._places = min(limits.connections, descriptors - spare)
        self._stops_at: float | None = None
        self._listeners = [Listener(self, sock) for sock in sockets]
        for thing in list(self.interest.values()):
            self.interest.look_again(thing)

    def connections(self) -> Iterator[Connection]:
        """All of them."""
        return (one for listener in self._listeners for one in listener.active_channels.values())

    def stop(self) -> None:
        """Accept no more connections; ``run`` returns when all complete requests are answered."""
        self._stops_at = time.monotonic() + GRACE
        self._listeners[0].trigger.pull_trigger()

    def run(self) -> None:
        """Serve until ``stop`` is called, from a signal handler or another thread."""
        interval = min(1.0, self._limits.request_timeout / 4, self._limits.idle_timeout / 4)
        look_at = time.monotonic() + interval
        while self._stops_at is None or self._leave():
            wait = 0.05 if self._stops_at is not None else look_at - time.monotonic()
            for thing, flags in self.interest.wait(max(0.0, wait)):
                self._happened(thing, flags)
            now = time.monotonic()
            if now >= look_at:
                look_at = now + interval
                self.cut_overdue(now)
        self.threads.shutdown()
        self.quick.shutdown()
        wasyncore.close_all(self.interest)

    def _happened(self, thing: Any, flags: int) -> None:
        if not self.interest.holds(thing):
            return  # closed by what happened just before
        wasyncore.readwrite(thing, flags)
        self.interest.look_again(thing)

    def _leave(self) -> bool:
        """Close finished connections; return whether there is something left to wait for."""
        assert self._stops_at is not None
        for listener in self._listeners:
            if listener.accepting:
                listener.accepting = False
                listener.del_channel()
                listener.socket.close()
        for connection in list(self.connections()):
            if not connection.is_served:
                connection.cut()
        return time.monotonic() < self._stops_at and any(self.connections())

    def has_room(self) -> bool:
        """Whether one more connection is possible; closes an idle one if the limit is reached."""
        count = sum(len(listener.active_channels) for listener in self._listeners)
        if count < self._places:
            return True
        waiting = [one for one in self.connections() if not one.is_served]
        waiting.sort(key=lambda one: (not one.is_idle, one.idle_since))
        for one in waiting[: max(1, self._places // 16)]:
            one.cut()
        log.warning("api.connections_full", places=self._places, waiting=len(waiting))
        return bool(waiting)

    def cut_overdue(self, now: float) -> None:
        """Close connections whose deadline has passed, or whose client takes too much memory."""
        limits = self._limits
        held = 0
        for connection in list(self.connections()):
            if connection.is_overdue(now, limits.request_timeout, limits.idle_timeout):
                connection.cut()
            else:
                held += connection.held
        if held > MOST_HELD:
            for connection in sorted(self.connections(), key=lambda one: -one.held):
                held -= connection.held
                connection.cut()
                if held < MOST_HELD / 2:
                    break


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets on all addresses of ``host``. Raises ``OSError`` where none can be had."""
    found: list[socket.socket] = []
    failed: OSError | None = None
    kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=kind, flags=flags):
        one = socket.socket(family, kind)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            one.listen(1024)
        except OSError as error:
            one.close()
            failed = error
        else:
            found.append(one)
    if not found:
        assert failed is not None
        raise failed
    return found


def _descriptors() -> int:
    """The most files that this process may open, after it has raised its own limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
