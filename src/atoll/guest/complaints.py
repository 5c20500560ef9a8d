"""Collects the error output of ssh and of the remote side; only its end is kept."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import IO

KEPT = 2000
"""Bytes of output that are kept."""
CHUNK = 65536
FREE = 1024 * 1024
"""Bytes that are read at full speed; after that, one chunk is read per second."""


class Complaints:
    """Reads a stream to its end and keeps the last ``KEPT`` bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept = b""
        self._reader = threading.Thread(target=self._read, name="ssh-words", daemon=True)
        self._reader.start()

    def words(self, patience: float = 1.0) -> str:
        """The end of the output, after waiting ``patience`` seconds for the stream to end."""
        self._reader.join(patience)
        return self._kept.decode("utf-8", "replace")

    def _read(self) -> None:
        total = 0
        with self._stream, contextlib.suppress(OSError, ValueError):
            while chunk := self._stream.read1(CHUNK):  # type: ignore[attr-defined]
                self._kept = (self._kept + chunk)[-KEPT:]
                total += len(chunk)
                if total > FREE:  # perhaps an attack, so spend little CPU on it
                    time.sleep(1)
