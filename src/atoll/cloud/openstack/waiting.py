"""Waiting until something is done: by one request for all threads, and less and less often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

from atoll.errors import CloudUnavailable

FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.1, 3.0, 1.2
FEW = 2
"""Up to this many threads ask for their own thing.

For more, one list request serves all of them.
"""

T = TypeVar("T")


class Watch(Generic[T]):
    """Lets many threads wait for things of one kind. ``first_pause`` is in seconds."""

    def __init__(
        self,
        get: Callable[[str], T | None],
        list_all: Callable[[], Mapping[str, T]],
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._get = get
        self._list_all = list_all
        self._first_pause = first_pause
        self._waiting = 0
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._listed_at = 0.0
        self._listed: Mapping[str, T] = {}

    def until(
        self, thing_id: str, settled: Callable[[T | None], bool], seconds: float, what: str
    ) -> T | None:
        """Return the thing as soon as it is ``settled``, or None if it is gone.

        ``settled`` raises an error if it never will be. Raises ``CloudUnavailable``, with ``what``
        was waited for, after that many seconds.
        """
        begun = time.monotonic()
        pause = self._first_pause
        with self._counted():
            found = self._get(thing_id)
            while not settled(found):
                left = begun + seconds - time.monotonic()
                if left <= 0:
                    raise CloudUnavailable(f"{what} was not done in {seconds:g} seconds.")
                time.sleep(min(pause, left))
                # A list that another thread got a moment ago is recent enough, unless it is older
                # than this wait.
                found = self._look(thing_id, max(begun, time.monotonic() - pause / 2))
                pause = min(LONGEST_PAUSE, pause * GROWTH)
            return found

    def _look(self, thing_id: str, fresh_since: float) -> T | None:
        with self._lock:
            alone = self._waiting <= FEW
        if alone:
            return self._get(thing_id)
        with self._looking:
            if self._listed_at < fresh_since:
                asked_at = time.monotonic()
                self._listed = self._list_all()
                self._listed_at = asked_at
            found = self._listed.get(thing_id)
        # A thing that is missing in a list may only have moved from one page to another.
        return found if found is not None else self._get(thing_id)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
