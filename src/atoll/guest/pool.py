"""Keeps one open channel per service instance, and fails fast if an instance does not answer.

An attempt to connect runs in its own thread, so it may take longer than its callers can wait. After
a failed attempt there is a pause, which grows with each failure. During the pause, calls fail at
once, so that a hung instance does not delay other work.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

from atoll.errors import AtollError, GuestUnreachable, LoginKeyUnusable
from atoll.guest.base import (
    Admitted,
    AppliedShare,
    Freeze,
    Guest,
    Health,
    ShareUsage,
    WantedShare,
    WantedState,
)

PATIENCE = 45.0
"""Shortest time-out of an attempt in seconds, even if its caller waits less."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0

T = TypeVar("T")


@runtime_checkable
class _Channel(Protocol):
    """A guest whose channel can end."""

    @property
    def alive(self) -> bool: ...


class _Attempt:
    """An attempt to connect, which several callers may wait for."""

    def __init__(self) -> None:
        self.settled = threading.Event()
        self.guest: Guest | None = None
        self.error: AtollError | None = None


class _Entry:
    """The state of one instance in the pool."""

    def __init__(self) -> None:
        self.guest: Guest | None = None
        self.attempt: _Attempt | None = None
        self.failures = 0
        self.retry_at = 0.0
        self.reason = ""


class GuestPool:
    """Channels by key, e.g. the instance's id. It can be used by many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def get(self, key: str, connect: Callable[[float], Guest], deadline: float) -> Guest:
        """The open channel, or one that ``connect(seconds)`` opens within ``deadline`` seconds.

        Raises ``GuestUnreachable``, and does so at once if the last attempt failed a moment ago.
        """
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            if entry.guest is not None:
                if not isinstance(entry.guest, _Channel) or entry.guest.alive:
                    return _Watched(self, key, entry.guest)
                entry.guest = None
            attempt = entry.attempt
            if entry.failures and (attempt is not None or self._clock() < entry.retry_at):
                raise GuestUnreachable(entry.reason)
            if attempt is None:
                attempt = entry.attempt = _Attempt()
                seconds = max(deadline, PATIENCE)
                threading.Thread(
                    target=self._connect,
                    args=(key, entry, attempt, connect, seconds),
                    name="guest-connect",
                    daemon=True,
                ).start()
        if not attempt.settled.wait(deadline):
            raise GuestUnreachable(f"The service instance has not answered in {deadline:g} s.")
        if attempt.guest is None:
            assert attempt.error is not None
            raise attempt.error
        return _Watched(self, key, attempt.guest)

    def end_pause(self, key: str) -> None:
        """Have the next call ask the instance, although it failed to answer a moment ago."""
        with self._lock:
            if (entry := self._entries.get(key)) is not None:
                entry.retry_at = 0.0

    def ping(self) -> dict[str, bool]:
        """Whether each instance with a channel has given a sign of life since the last call.

        It asks all of them for the next one, and waits for none.
        """
        with self._lock:
            channels = {key: entry.guest for key, entry in self._entries.items() if entry.guest}
        return {key: guest.ping() for key, guest in channels.items()}

    def forget(self, key: str) -> None:
        """Drop a channel whose instance gives no sign of life, without waiting for its end."""
        with self._lock:
            entry = self._entries.get(key)
            guest = None if entry is None else entry.guest
        if guest is not None:
            threading.Thread(
                target=self.lost, args=(key, guest), name="guest-lost", daemon=True
            ).start()

    def hand_over(self, key: str, to: str) -> None:
        """Use the channel of ``key`` for ``to`` from now on, instead of what ``to`` has.

        Opening another one to the same instance would take seconds. Where ``key`` has none, ``to``
        will open one.
        """
        self.drop(to)
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is not None and entry.guest is not None:
                self._entries[to] = entry

    def drop(self, key: str) -> None:
        """Close the channel and remove the instance's state."""
        with self._lock:
            entry = self._entries.pop(key, None)
        if entry is not None and entry.guest is not None:
            entry.guest.close()

    def close(self) -> None:
        """Close all channels."""
        for key in list(self._entries):
            self.drop(key)

    def lost(self, key: str, guest: Guest) -> None:
        """Drop a channel whose instance did not answer; the next caller gets a new channel."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.guest is not guest:
                return
            entry.guest = None
        guest.close()

    def _connect(
        self,
        key: str,
        entry: _Entry,
        attempt: _Attempt,
        connect: Callable[[float], Guest],
        seconds: float,
    ) -> None:
        guest: Guest | None = None
        error: AtollError | None = None
        try:
            guest = connect(seconds)
        except AtollError as caught:
            error = caught
        except Exception as caught:  # noqa: BLE001 - the outermost frame of a thread
            error = GuestUnreachable(f"No channel: {type(caught).__name__}: {caught}")
        with self._lock:
            entry.attempt = None
            dropped = self._entries.get(key) is not entry
            if guest is not None and not dropped:
                entry.guest, entry.failures = guest, 0
            elif error is not None and not isinstance(error, LoginKeyUnusable):
                entry.failures += 1
                entry.reason = str(error)
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (entry.failures - 1))
                entry.retry_at = self._clock() + pause * random.uniform(0.75, 1.25)
        if guest is not None and dropped:
            guest.close()
            guest, error = None, GuestUnreachable("The service instance is being replaced.")
        attempt.guest, attempt.error = guest, error
        attempt.settled.set()


class _Watched:
    """Implements ``Guest``, and tells the pool when the instance does not answer."""

    def __init__(self, pool: GuestPool, key: str, guest: Guest) -> None:
        self._pool = pool
        self._key = key
        self._guest = guest

    def _watch(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except GuestUnreachable:
            self._pool.lost(self._key, self._guest)
            raise

    def apply_share(self, wanted: WantedShare, *, fence: int, deadline: float = 60) -> AppliedShare:
        return self._watch(lambda: self._guest.apply_share(wanted, fence=fence, deadline=deadline))

    def remove_share(self, share_id: str, path: str, *, fence: int, deadline: float = 60) -> None:
        self._watch(
            lambda: self._guest.remove_share(share_id, path, fence=fence, deadline=deadline)
        )

    def freeze_share(self, share_id: str, path: str, freeze: Freeze, *, seconds: float) -> None:
        self._watch(lambda: self._guest.freeze_share(share_id, path, freeze, seconds=seconds))

    def thaw_share(self, share_id: str, path: str, freeze: Freeze) -> None:
        self._watch(lambda: self._guest.thaw_share(share_id, path, freeze))

    def keep_state(self, wanted: WantedState, *, deadline: float = 60) -> None:
        self._watch(lambda: self._guest.keep_state(wanted, deadline=deadline))

    def start_nfs(self, *, with_state: bool = True, deadline: float = 60) -> None:
        self._watch(lambda: self._guest.start_nfs(with_state=with_state, deadline=deadline))

    def notify_clients(self, *, deadline: float = 30) -> None:
        self._watch(lambda: self._guest.notify_clients(deadline=deadline))

    def usage(self, *, deadline: float = 10) -> tuple[ShareUsage, ...]:
        return self._watch(lambda: self._guest.usage(deadline=deadline))

    def health(self, *, deadline: float = 10) -> Health:
        return self._watch(lambda: self._guest.health(deadline=deadline))

    def ping(self) -> bool:
        return self._guest.ping()

    def admitted(self, share_id: str, *, deadline: float = 10) -> Admitted:
        return self._watch(lambda: self._guest.admitted(share_id, deadline=deadline))

    def close(self) -> None:
        self._pool.lost(self._key, self._guest)
