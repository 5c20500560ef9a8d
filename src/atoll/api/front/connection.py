"""One client's connection: a request at a time, each with its deadlines.

A request has to be complete within ``request_timeout`` seconds of its first byte. A connection
without a request may stay for ``idle_timeout`` seconds. The client has to read an answer at a rate
that even a slow line reaches. None of these waits needs a thread.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.task import ErrorTask, WSGITask

from atoll.api.frame import faults
from atoll.api.front.parser import Parser, RequestTimeout

if TYPE_CHECKING:
    from atoll.api.front.listener import Listener

SLOWEST: Final = 4096
"""Bytes a second at which the client has to read an answer."""
MOST_UNREAD: Final = 16 * 2**20
"""Bytes of answers that a client may leave unread; above that its connection is closed."""
LINGER: Final = 2.0
"""Seconds for which the server reads on after a refusal, so that the client receives it."""
_HEADER_LIMIT: Final = 1 << 14
_PIECE: Final = 1 << 17


class _Refusal(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """The answer to an invalid request, in the same form as the API's own errors."""

    def execute(self) -> None:
        """Answer, and close."""
        error = self.request.error
        content = faults.body(error.code, str(error.body)[:200])
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(content)
        self.write(content)


class _Answer(WSGITask):  # type: ignore[misc]
    """The application's answer."""

    wrote_header: bool

    def write(self, data: bytes) -> None:
        """Send the header and what follows it in one piece."""
        if data and not self.wrote_header and self.complete and self.content_length == len(data):
            self.wrote_header = True
            header: bytes = self.build_response_header()
            self.content_bytes_written = len(data)
            self.channel.write_soon(header + data if len(data) < _HEADER_LIMIT else header)
            if len(data) >= _HEADER_LIMIT:
                self.channel.write_soon(data)
            return
        super().write(data)


class Connection(HTTPChannel):  # type: ignore[misc]
    """waitress's connection, with deadlines."""

    parser_class = Parser
    task_class = _Answer
    error_task_class = _Refusal
    server: Listener

    close_when_flushed: bool
    sendbuf_len: int

    def __init__(
        self, server: Listener, sock: socket.socket, address: Any, adj: Any, **options: Any
    ) -> None:
        now = time.monotonic()
        self.idle_since = now
        self._timed: Parser | None = None
        self._begun = now
        self._sent = 0
        self._sent_before = 0
        self._rated_from: float | None = None
        self._lingers_until: float | None = None
        super().__init__(server, sock, address, adj, **options)
        # waitress copies so much for each call, however little of it the kernel takes
        self.sendbuf_len = min(self.sendbuf_len, _PIECE)
        server.interest.look_again(self)

    # --- in the loop's thread -----------------------------------------------------------------

    def received(self, data: bytes) -> bool:
        """Take bytes in, and note when the request that they belong to has begun."""
        if self._lingers_until is not None:
            return False
        taken: bool = super().received(data)
        if self.request is not self._timed:
            self._timed = self.request
            self._begun = time.monotonic()
        return taken

    def readable(self) -> bool:
        """Whether to read: not while a request is answered."""
        return self._lingers_until is not None or bool(super().readable())

    def writable(self) -> bool:
        """Whether there is something to send, or to close."""
        if self._lingers_until is not None:
            return False
        return bool(super().writable())

    def handle_write(self) -> None:
        """Send; before closing shut down the sending side, and read on for a moment.

        If the connection were closed at once, the kernel would answer what the client still sends
        by a reset, and the client might lose the answer.
        """
        if not self.close_when_flushed or self.will_close:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif not self.total_outbufs_len and self.connected:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
            self.close_when_flushed = False
            self._lingers_until = time.monotonic() + LINGER

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send as much as the client takes now."""
        count: int = super().send(data, do_close=do_close)
        self._sent += count
        return count

    @property
    def is_idle(self) -> bool:
        """Whether no part of a request has come and no answer is pending."""
        return not (self.requests or self.request or self.total_outbufs_len)

    @property
    def is_served(self) -> bool:
        """Whether a whole request has come whose answer the client has not received yet."""
        return bool(self.requests or self.total_outbufs_len)

    @property
    def held(self) -> int:
        """Bytes that are kept for this client."""
        coming = self.request
        bytes_in = coming.header_bytes_received + coming.body_bytes_received if coming else 0
        return int(self.total_outbufs_len) + bytes_in

    def is_overdue(self, now: float, request_timeout: float, idle_timeout: float) -> bool:
        """Whether one of the client's deadlines has passed."""
        if self._lingers_until is not None:
            return now > self._lingers_until
        if self.total_outbufs_len:
            return self._reads_too_slowly(now, request_timeout)
        self._rated_from = None
        if self.requests:
            self._begun = now  # what follows can't be read meanwhile, and is not the client's fault
            return False
        if self.request is not None:
            return now - self._begun > request_timeout
        return now - self.idle_since > idle_timeout

    def cut(self) -> None:
        """Close it. A client in the middle of a request gets an answer that says why."""
        if self.request is not None and not self.is_served:
            content = faults.body(RequestTimeout.code, "The request did not come in time.")
            head = (
                f"HTTP/1.1 {RequestTimeout.code} {RequestTimeout.reason}\r\n"
                "Connection: close\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(content)}\r\n\r\n"
            )
            with suppress(OSError):
                self.socket.send(head.encode() + content)
        self.handle_close()

    def _reads_too_slowly(self, now: float, window: float) -> bool:
        if self._rated_from is None:
            self._rated_from, self._sent_before = now, self._sent
        elif now - self._rated_from > window:
            if self._sent - self._sent_before < SLOWEST * window:
                return True
            self._rated_from, self._sent_before = now, self._sent
        return False

    # --- in a thread that answers -------------------------------------------------------------

    def service(self) -> None:
        """Answer one request, then have the loop look at this connection again."""
        super().service()
        self.idle_since = time.monotonic()
        self.server.interest.look_again(self)

    def write_soon(self, data: Any) -> int:
        """Send, or keep what the client does not take yet; never wait for it."""
        if self.total_outbufs_len > MOST_UNREAD:
            self.will_close = True
            raise ClientDisconnected
        return int(super().write_soon(data))
