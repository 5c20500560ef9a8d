"""The channel to a guest agent: one long-lived ssh process, a line a request.

Calls may be made from many threads at once and are answered in any order. Whatever ends the channel
(the instance dies, the network, ``close``) ends all waiting calls with ``GuestUnreachable``; a
channel is never mended, its owner opens another (``pool.py``).
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
from atoll.guest.base import Access, AppliedShare, Freeze, Health, ShareUsage, WantedShare
from atoll.guest.payload import agent_payload
from atoll.guest.ssh import SshOptions, SshProcess, await_banner

log = structlog.get_logger(__name__)

T = TypeVar("T")

PROTOCOL = 1
MAX_REQUEST = 8 * 1024 * 1024
"""Bytes; the agent reads no longer lines."""
LINE_COST = 100
"""Bytes that a line counts for besides its length."""
MAX_UNASKED = 8 * 1024 * 1024
"""Bytes that an instance may send without having been asked, such as what login scripts print."""
GRACE = 5.0
"""Seconds that an answer may be late: the agent itself keeps to the deadline."""
FREEZE_DEADLINE = 30.0
CLOSED = "The channel was closed."
CODES: dict[str, type[GuestError]] = {
    "stale_fence": StaleFence,
    "device_not_blank": DeviceNotBlank,
    "deadline": GuestBusy,
    "busy": GuestBusy,
    "freeze_lost": FreezeLost,
}


def open_guest(access: Access, options: SshOptions, deadline: float) -> SshGuest:
    """A channel to an instance that may still boot, within ``deadline`` seconds.

    One attempt at a time. Refused keys are tried again, too: an instance greets before it has been
    given its keys. Raises ``GuestUnreachable`` with ssh's words.
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
        """Find the device, format it if allowed, mount, grow to the device's size, export."""
        applied = self._call("apply_share", asdict(wanted), AppliedShare, deadline, fence)
        asked = {rule.to for rule in wanted.rules or ()}
        if not asked.issuperset(applied.rejected_rules):
            raise GuestError("apply_share: the answer tells of rules that were not asked for.")
        words = {to: clean(why, 500) for to, why in applied.rejected_rules.items()}
        return replace(applied, rejected_rules=words)

    def remove_share(self, share_id: str, path: str, *, fence: int, deadline: float = 60) -> None:
        """Unexport, drop clients' state, unmount, forget. Absent is fine."""
        args = {"share_id": share_id, "path": path}
        if self._call("remove_share", args, Removed, deadline, fence).lazy:
            log.warning("share_unmounted_lazily", share=share_id, instance=self._address)

    def freeze_share(self, share_id: str, path: str, freeze: Freeze, *, seconds: float) -> None:
        """Freeze; thawed by itself after ``seconds`` or when the channel ends."""
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
        """Undo this freeze. Raises ``FreezeLost`` unless it held until now."""
        args = {"share_id": share_id, "path": path, "token": freeze.token}
        self._call("thaw_share", args, Nothing, FREEZE_DEADLINE)

    def usage(self, *, deadline: float = 10) -> tuple[ShareUsage, ...]:
        """Sizes of all shares."""
        usages = self._call("usage", {}, Usages, deadline)
        check_once(usages, "usage")
        return usages.shares

    def health(self, *, deadline: float = 10) -> Health:
        """What the instance really serves."""
        health = self._call("health", {}, Health, deadline)
        check_once(health, "health")
        return health

    def close(self) -> None:
        """End the channel; the instance goes on serving, and finishes what was begun."""
        self._end(CLOSED)
        self._stopper.join(5)

    # --- the line protocol ----------------------------------------------------------------------

    def _greet(self, end: float) -> None:
        """Send the agent and wait for its first words."""
        with contextlib.suppress(GuestUnreachable):  # ssh's own words say more, and come later
            self._send(agent_payload(), end)
        with self._state:
            self._state.wait_for(lambda: self.boot_id or self._ended, end - time.monotonic())
        if not self.boot_id:
            self._end("No agent in time.")
            self._reader.join(5)
            self._stopper.join(5)  # the keys are gone when anybody hears of it
            raise self._unreachable()
        self._ssh.logged_in()

    def _call(
        self, verb: str, args: dict[str, Any], kind: type[T], deadline: float, fence: int = 0
    ) -> T:
        """One request and its answer."""
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
            # A channel that has been silent all the time is as good as broken; one on which other
            # answers came is kept for their sake.
            if self._heard < start:
                self._end("It has fallen silent.")
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
        """Write, never longer than until ``end``: a hung instance stops reading."""
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
        """Take in answers until the channel ends."""
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
        """Process a line; False for one that no request waits for."""
        with self._state:
            if not self.boot_id:
                hello = read_hello(message)
                if hello is None or hello.protocol != PROTOCOL:
                    return False
                self.boot_id = hello.boot_id
            elif message.id in self._waiting and self._waiting[message.id] is None:
                self._waiting[message.id] = message
            else:
                return False
            self._heard = time.monotonic()
            self._state.notify_all()
            return True

    def _end(self, reason: str) -> None:
        """Mark the channel as ended, and end ssh; the first reason stands."""
        with self._state:
            if not self._ended:
                self._ended = reason
                self._stopper.start()
                self._state.notify_all()

    def _stop(self) -> None:
        with self._sending:  # nobody is half-way: the number of the pipe is soon another file's
            self._ssh.end(patience=2 if self._ended == CLOSED else 0)

    def _unreachable(self) -> GuestUnreachable:
        return GuestUnreachable(" ".join(filter(None, (self._address, self._ended, self._words))))
