"""How long share servers have been silent, as this worker has seen it itself.

Only time between two looks of this process counts, so that neither Atoll's downtime nor a change of
the clock makes an instance look dead. If the process was frozen between two looks, that gap counts
only up to a limit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

FORGOTTEN_AFTER = 3600.0
"""Seconds without a look after which a server is forgotten; it has been removed."""


@dataclass(frozen=True, slots=True)
class Silence:
    """What counts against a server."""

    seconds: float
    """For how long it has been silent, by itself and since its instance was reset."""
    reset_for: float | None
    """Seconds since its instance was reset because of this silence; None if it was not."""


@dataclass(slots=True)
class _Record:
    """What was seen of one server. ``since`` is what its row said then."""

    since: float | None
    looked_at: float
    seconds: float = 0.0
    reset_at: float | None = None


class Silences:
    """Servers by id. It can be used by many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._records: dict[str, _Record] = {}
        self._begun: dict[str, tuple[float, float]] = {}

    def begin(self, server_id: str, seconds: float) -> None:
        """Record that a server has given no sign of life for some seconds, by this worker's watch.

        It counts when the server is examined.
        """
        with self._lock:
            self._begun[server_id] = (seconds, self._clock())

    def seen(
        self, server_id: str, since: float | None, *, longest_gap: float, counts: bool = True
    ) -> Silence:
        """Record that the server is silent; return what counts against it.

        ``since`` is the row's ``unhealthy_since``. If it has changed, the server has answered
        another worker meanwhile. A gap between two looks counts for at most ``longest_gap``
        seconds. With ``counts=False`` it has another cause than the server: then the server must be
        silent again for as long when that cause has gone.
        """
        now = self._clock()
        with self._lock:
            self._forget_removed(now)
            record = self._records.get(server_id)
            if record is None or since is None or record.since not in (None, since):
                seconds, noted_at = self._begun.pop(server_id, (0.0, now))
                record = self._records[server_id] = _Record(since, noted_at, seconds)
            record.seconds += min(now - record.looked_at, longest_gap)
            if not counts:
                record.seconds = 0.0
            record.looked_at, record.since = now, since
            reset_for = None if record.reset_at is None else now - record.reset_at
            return Silence(record.seconds, reset_for)

    def reset(self, server_id: str) -> None:
        """Record that the server's instance was reset, and needs time to boot."""
        with self._lock:
            record = self._records.get(server_id)
            if record is not None:
                record.seconds, record.reset_at = 0.0, self._clock()
                record.looked_at = record.reset_at

    def ended(self, server_id: str) -> None:
        """Record that the server answers."""
        with self._lock:
            self._records.pop(server_id, None)
            self._begun.pop(server_id, None)

    def _forget_removed(self, now: float) -> None:
        for server_id, record in list(self._records.items()):
            if now - record.looked_at > FORGOTTEN_AFTER:
                del self._records[server_id]
        for server_id, (_, noted_at) in list(self._begun.items()):
            if now - noted_at > FORGOTTEN_AFTER:
                del self._begun[server_id]
