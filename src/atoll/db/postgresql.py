"""Connections to PostgreSQL with a deadline for each answer of the server.

The server's own time-outs do not help if its machine is frozen or cut off, and TCP's time-outs do
not help if the kernel at the other end still acknowledges. So each wait for the server has a
deadline here, a little later than the server's own. After a missed deadline, only one statement at
a time tries the server for a while. Otherwise every request would have to wait for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

GRACE = 2.0
"""Seconds that the server's own error ("canceled") may arrive late."""
REST = 2.0
"""Seconds for which a silent server gets no statements."""


class Silence:
    """Records whether the server missed its last deadline."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._until: float | None = None
        self._count = 0
        self._seen = threading.local()

    def check(self) -> None:
        """Raise ``psycopg.OperationalError`` while the server gets no statements.

        After a while one caller may try the server; the result counts for the others.
        """
        self._seen.count = self._count
        if self._until is None:
            return
        with self._lock:
            now = time.monotonic()
            if self._until is not None and now < self._until:
                raise psycopg.OperationalError("the server did not answer a moment ago")
            self._until = now + self._patience + GRACE + REST

    def check_again(self) -> None:
        """Raise if a deadline was missed since this thread's last ``check``."""
        if getattr(self._seen, "count", self._count) != self._count:
            raise psycopg.OperationalError("the server did not answer a moment ago")

    def begins(self) -> None:
        """Record that the server has missed a deadline."""
        with self._lock:
            self._count += 1
            self._until = time.monotonic() + REST

    def ends(self) -> None:
        """Record that the server has answered."""
        self._until = None

    @property
    def lasts(self) -> bool:
        """Whether the server has not answered since it missed a deadline."""
        return self._until is not None


class Link(psycopg.Connection[Any]):
    """A connection that is closed if the server does not answer in time."""

    patience: float | None = None
    """Seconds for one answer; None means no limit."""
    silence: Silence | None = None

    def wait(self, gen: Any, *rest: Any, **more: Any) -> Any:
        """Override psycopg's wait for the server. Raises OperationalError at the deadline."""
        if self.patience is None:
            return super().wait(gen, *rest, **more)
        try:
            found = super().wait(_within(gen, self.patience), *rest, **more)
        except _Overdue:
            self.pgconn.finish()  # what the server has done, or will do, is unknown
            if self.silence is not None:
                self.silence.begins()
            raise psycopg.OperationalError(
                f"the server did not answer within {self.patience:g} s"
            ) from None
        if self.silence is not None and self.silence.lasts:
            self.silence.ends()
        return found


class _Overdue(Exception):
    pass


def _within(gen: Any, seconds: float) -> Any:
    """The same generator, but it raises ``_Overdue`` after ``seconds`` without data."""
    try:
        state = next(gen)
        deadline = time.monotonic() + seconds
        while True:
            ready = yield state
            if not ready and time.monotonic() > deadline:
                raise _Overdue
            state = gen.send(ready)
    except StopIteration as end:
        return end.value


def open_link(
    arguments: Sequence[Any],
    options: Mapping[str, Any],
    patience: float,
    silence: Silence,
) -> Link:
    """Connect within ``patience`` seconds, which later is also the limit for each answer.

    Raises ``psycopg.OperationalError``.
    """
    silence.check_again()
    defaults: dict[str, Any] = {
        "connect_timeout": max(2, int(patience)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int((patience + GRACE) * 1000),
    }
    try:
        link = Link.connect(*arguments, **{**defaults, **options})
    except psycopg.errors.ConnectionTimeout:
        silence.begins()
        raise
    except psycopg.OperationalError:
        silence.ends()  # a refusal is an answer
        raise
    link.patience, link.silence = patience + GRACE, silence
    silence.ends()
    return link
