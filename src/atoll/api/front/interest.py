"""Which events of which connections epoll watches; a waiting connection costs no CPU."""

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

    def wait(self, seconds: float) -> list[tuple[Any, int]]:
        """What something has happened to, and its flags; empty after ``seconds``.

        Ask ``holds`` before each: dealing with one may have closed another, whose descriptor may
        be a newcomer's by then.
        """
        happened = self._epoll.poll(seconds)
        with self._lock:
            return [(self[one], flags) for one, flags in happened if one in self]

    def holds(self, thing: Any) -> bool:
        """Whether ``thing`` is still watched."""
        return self.get(thing._fileno) is thing  # noqa: SLF001 - as above
