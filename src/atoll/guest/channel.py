"""The channel to a guest agent: one long-lived ssh process, and one line per request.

Many threads may make calls at once, and answers may come in any order. When the channel ends
(because of the instance, the network or ``close``), all waiting calls raise ``GuestUnreachable``. A
channel is never reopened; its owner opens a new one (``pool.py``).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time
from dataclasses import asdict, replace
from typing import Any, TypeVar

import structlog

from atoll.errors import (
    DeviceNotBlank,
    FreezeLost,
    GuestBusy,
    GuestError,
    GuestUnreachable,
    StaleFence,
)
from atoll.guest.answers import (
    MAX_LINE,
    Failure,
    Line,
    Nothing,
    Removed,
    Usages,
    check_once,
    clean,
    read_answer,
    read_hello,
    read_line,
)
from atoll.guest.base import (
    Access,
    Admitted,
    AppliedShare,
    Freeze,
    Health,
    ShareUsage,
    WantedShare,
    WantedState,
)
from atoll.guest.payload import agent_payload
from atoll.guest.ssh import SshOptions, SshProcess, await_banner

log = structlog.get_logger(__name__)

T = TypeVar("T")

PROTOCOL = 1
MAX_REQUEST = 8 * 1024 * 1024
"""Bytes of the longest request that the agent reads."""
LINE_COST = 100
"""Bytes that each unrequested line counts for besides its length."""
MAX_UNASKED = 8 * 1024 * 1024
"""Bytes of unrequested output that an instance may send, such as that of login scripts."""
GRACE = 5.0
"""Seconds that an answer may be late. The agent itself keeps to the deadline."""
FREEZE_DEADLINE = 30.0
PING = json.dumps({"id": 0, "verb": "ping"}).encode() + b"\n"
CLOSED = "The channel was closed."
CODES: dict[str, type[GuestError]] = {
    "stale_fence": StaleFence,
    "device_not_blank": DeviceNotBlank,
    "deadline": GuestBusy,
    "busy": GuestBusy,
    "freeze_lost": FreezeLost,
}


def open_guest(access: Access, options: SshOptions, deadline: float) -> SshGuest:
    """Open a channel to an instance, which may still be booting, within ``deadline`` seconds.

    Attempts are repeated, even if the instance refuses the key: a booting instance answers before
    it has received its keys. Raises ``GuestUnreachable`` with ssh's error message.
    """
    end = time.monotonic() + deadline
    while True:
        left = end - time.monotonic()
        try:
            if options.bastion is None:
                await_banner(access.address, options.port, left)
            return SshGuest(access, options, max(0.1, end - time.monotonic()))
        except GuestUnreachable:
            if end - time.monotonic() < 2:
                raise
            time.sleep(1)


class SshGuest:
    """Implements ``Guest`` over ssh."""

    def __init__(self, access: Access, options: SshOptions, deadline: float) -> None:
        self._address = access.address
        self._state = threading.Condition()
        self._sending = threading.Lock()
        self._waiting: dict[int, Line | None] = {}
        self._next_id = 0
        self._heard = time.monotonic()
        self._pinged = 0.0
        self._ended = ""
        self._words = ""
        self.boot_id = ""
        self._ssh = SshProcess(access, options)
        assert self._ssh.process.stdin is not None
        self._input = self._ssh.process.stdin.fileno()
        os.set_blocking(self._input, False)
        self._stopper = threading.Thread(target=self._stop, name="guest-channel-end", daemon=True)
        self._reader = threading.Thread(target=self._read, name="guest-channel", daemon=True)
        self._reader.start()
        self._greet(time.monotonic() + deadline)

    @property
    def alive(self) -> bool:
        """False once the channel has ended."""
        return not self._ended

    def apply_share(self, wanted: WantedShare, *, fence: int, deadline: float = 60) -> AppliedShare:
        """Find the device, format it if allowed, mount it, grow it, and export it."""
        applied = self._call("apply_share", asdict(wanted), AppliedShare, deadline, fence)
        asked = {rule.to for rule in wanted.rules or ()}
        if not asked.issuperset(applied.rejected_rules):
            raise GuestError("apply_share: the answer names rules that were not in the request.")
        words = {to: clean(why, 500) for to, why in applied.rejected_rules.items()}
        return replace(applied, rejected_rules=words)

    def remove_share(self, share_id: str, path: str, *, fence: int, deadline: float = 60) -> None:
        """Unexport and unmount the share, and drop the state of its clients. It may be absent."""
        args = {"share_id": share_id, "path": path}
        if self._call("remove_share", args, Removed, deadline, fence).lazy:
            log.warning("share.unmounted_lazily", share_id=share_id, instance=self._address)

    def freeze_share(self, share_id: str, path: str, freeze: Freeze, *, seconds: float) -> None:
        """Freeze the file system until it is thawed, the channel ends, or ``seconds`` are over."""
        args = {
            "share_id": share_id,
            "path": path,
            "asker": freeze.asker,
            "token": freeze.token,
            "take_over": freeze.takes_over,
            "seconds": seconds,
        }
        self._call("freeze_share", args, Nothing, FREEZE_DEADLINE)

    def thaw_share(self, share_id: str, path: str, freeze: Freeze) -> None:
        """End this freeze. Raises ``FreezeLost`` unless it lasted until now."""
        args = {"share_id": share_id, "path": path, "token": freeze.token}
        self._call("thaw_share", args, Nothing, FREEZE_DEADLINE)

    def keep_state(self, wanted: WantedState, *, deadline: float = 60) -> None:
        """Mount the volume on which the NFS server keeps what clients reclaim by."""
        self._call("keep_state", asdict(wanted), Nothing, deadline)

    def start_nfs(self, *, with_state: bool = True, deadline: float = 60) -> None:
        """Start the NFS server if it does not run."""
        self._call("start_nfs", {"with_state": with_state}, Nothing, deadline)

    def notify_clients(self, *, deadline: float = 30) -> None:
        """Have the clients of a former instance come back at once."""
        self._call("notify_clients", {}, Nothing, deadline)

    def usage(self, *, deadline: float = 10) -> tuple[ShareUsage, ...]:
        """Sizes of all shares."""
        usages = self._call("usage", {}, Usages, deadline)
        check_once(usages, "usage")
        return usages.shares

    def health(self, *, deadline: float = 10) -> Health:
        """What the instance actually serves."""
        health = self._call("health", {}, Health, deadline)
        check_once(health, "health")
        return health

    def ping(self) -> bool:
        """Ask for a sign of life without waiting for it; whether there was one since the last."""
        if self._ended:
            return False
        if self._heard < self._pinged:
            return False
        if self._sending.acquire(blocking=False):
            try:
                # So few bytes are written wholly or not at all.
                os.write(self._input, PING)
                self._pinged = time.monotonic()
            except BlockingIOError:
                return False  # the instance has stopped reading
            except OSError as error:
                self._end(f"ssh has ended: {error.strerror}.")
                return False
            finally:
                self._sending.release()
        return True

    def admitted(self, share_id: str, *, deadline: float = 10) -> Admitted:
        """The clients that may use the share, as the instance's own tables say."""
        return self._call("admitted", {"share_id": share_id}, Admitted, deadline)

    def close(self) -> None:
        """Close the channel; the instance continues to serve, and finishes running requests."""
        self._end(CLOSED)
        self._stopper.join(5)

    # --- the line protocol ----------------------------------------------------------------------

    def _greet(self, end: float) -> None:
        """Send the agent, and wait for its first message."""
        with contextlib.suppress(GuestUnreachable):  # ssh's own error comes later, and says more
            self._send(agent_payload(), end)
        with self._state:
            self._state.wait_for(lambda: self.boot_id or self._ended, end - time.monotonic())
        if not self.boot_id:
            self._end("No agent in time.")
            self._reader.join(5)
            self._stopper.join(5)  # the keys must be removed before the error is raised
            raise self._unreachable()
        self._ssh.logged_in()

    def _call(
        self, verb: str, args: dict[str, Any], kind: type[T], deadline: float, fence: int = 0
    ) -> T:
        """Send a request and return its answer."""
        start = time.monotonic()
        end = start + deadline + GRACE
        with self._state:
            self._next_id += 1
            number = self._next_id
        request = {"id": number, "verb": verb, "fence": fence, "deadline": deadline, "args": args}
        data = json.dumps(request).encode() + b"\n"
        if len(data) > MAX_REQUEST:
            raise GuestError(f"{verb}: {len(data)} bytes are too many for one request.")
        with self._state:
            self._waiting[number] = None
        try:
            self._send(data, end)
            answer = self._await(number, end)
        finally:
            with self._state:
                self._waiting.pop(number, None)
        if answer is None:
            # A channel without any answer during this time counts as broken. One with answers to
            # other requests is kept.
            if self._heard < start:
                self._end("It does not answer any more.")
            raise GuestUnreachable(f"{self._address} did not answer {verb} in {deadline:g} s.")
        said = read_answer(answer, kind, verb)
        if isinstance(said, Failure):
            raise CODES.get(said.code, GuestError)(f"{verb}: {clean(said.message)}")
        return said

    def _await(self, number: int, end: float) -> Line | None:
        with self._state:
            while self._waiting[number] is None:
                if self._ended:
                    raise self._unreachable()
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._state.wait(left)
            return self._waiting[number]

    def _send(self, data: bytes, end: float) -> None:
        """Write ``data`` before ``end``, because a hung instance stops reading."""
        if not self._sending.acquire(timeout=max(0.0, end - time.monotonic())):
            raise GuestUnreachable(f"{self._address} takes no requests.")
        try:
            poll = select.poll()
            poll.register(self._input, select.POLLOUT)
            rest = memoryview(data)
            while rest:
                if self._ended:
                    raise self._unreachable()
                if poll.poll(500):
                    rest = rest[os.write(self._input, rest[:65536]) :]
                elif time.monotonic() >= end:
                    self._end("It takes no requests.")  # half a line has been sent
                    raise self._unreachable()
        except OSError as error:
            self._end(f"ssh has ended: {error.strerror}.")
            raise self._unreachable() from error
        finally:
            self._sending.release()

    def _read(self) -> None:
        """Read answers until the channel ends."""
        stream = self._ssh.process.stdout
        assert stream is not None
        unasked = 0
        while line := stream.readline(MAX_LINE):
            if not line.endswith(b"\n") and len(line) >= MAX_LINE:
                self._end("It sends a line without an end.")
            message = read_line(line)
            if message is not None and self._hear(message):
                unasked = 0
                continue
            unasked += LINE_COST + len(line)
            if unasked > MAX_UNASKED:
                self._end("It sends data that was not requested.")
            if self._ended:
                break  # ssh is being killed, so the rest of its output does not matter
        self._words = clean(self._ssh.words())
        self._end("The connection was lost.")
        self._ssh.forget()

    def _hear(self, message: Line) -> bool:
        """Process a line; False if no request waits for it."""
        with self._state:
            if not self.boot_id:
                hello = read_hello(message)
                if hello is None or hello.protocol != PROTOCOL:
                    return False
                self.boot_id = hello.boot_id
            elif message.id == 0 and self._heard < self._pinged:
                pass  # the answer to a ping
            elif message.id in self._waiting and self._waiting[message.id] is None:
                self._waiting[message.id] = message
            else:
                return False
            self._heard = time.monotonic()
            self._state.notify_all()
            return True

    def _end(self, reason: str) -> None:
        """Mark the channel as ended, and end ssh. The first reason is kept."""
        with self._state:
            if not self._ended:
                self._ended = reason
                self._stopper.start()
                self._state.notify_all()

    def _stop(self) -> None:
        # Closing the pipe during a write would let another file reuse its descriptor.
        with self._sending:
            self._ssh.end(patience=2 if self._ended == CLOSED else 0)

    def _unreachable(self) -> GuestUnreachable:
        return GuestUnreachable(" ".join(filter(None, (self._address, self._ended, self._words))))
