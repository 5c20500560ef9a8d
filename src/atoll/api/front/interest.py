"""Which connections the kernel is asked about; what waits costs nothing until it happens."""

from __future__ import annotations

import select
import threading
from typing import Any


class Interest(dict[int, Any]):
    """waitress's map of descriptors, kept in step with an epoll."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._flags: dict[int, int] = {}
        self._lock = threading.Lock()

    def __setitem__(self, descriptor: int, thing: Any) -> None:
        with self._lock:
            super().__setitem__(descriptor, thing)
            self._epoll.register(descriptor, 0)
            self._flags[descriptor] = 0

    def __delitem__(self, descriptor: int) -> None:
        with self._lock:
            super().__delitem__(descriptor)
            del self._flags[descriptor]
            self._epoll.unregister(descriptor)

    def look_again(self, thing: Any) -> None:
        """Ask the kernel for what ``thing`` waits for now. Any thread may call it."""
        with self._lock:
            descriptor = thing._fileno  # noqa: SLF001 - waitress has no other name for it
            known = self.get(descriptor)
            if known is None or known is not thing:
                return  # closed meanwhile
            flags = select.EPOLLIN if known.readable() else 0
            if known.writable():
                flags |= select.EPOLLOUT
            if flags != self._flags[descriptor]:
                self._epoll.modify(descriptor, flags)
                self._flags[descriptor] = flags

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Descriptors and flags of what has happened; empty after ``seconds``."""
        return self._epoll.poll(seconds)
