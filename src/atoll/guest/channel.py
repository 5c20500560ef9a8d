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
from dataclasses import asdict
from typing import Any

import structlog

from atoll.errors import (
    DeviceNotBlank,
    FreezeLost,
    GuestBusy,
    GuestError,
    GuestUnreachable,
    StaleFence,
)
from atoll.guest.base import (
    Access,
    AppliedShare,
    Freeze,
    Health,
    ServedShare,
    ShareUsage,
    WantedShare,
)
from atoll.guest.payload import agent_payload
from atoll.guest.ssh import SshOptions, SshProcess, await_banner

log = structlog.get_logger(__name__)

PROTOCOL = 1
MAX_LINE = 8 * 1024 * 1024
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
        self._waiting: dict[int, dict[str, Any] | None] = {}
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
        return AppliedShare(**self._call("apply_share", asdict(wanted), deadline, fence))

    def remove_share(self, share_id: str, path: str, *, fence: int, deadline: float = 60) -> None:
        """Unexport, drop clients' state, unmount, forget. Absent is fine."""
        args = {"share_id": share_id, "path": path}
        if self._call("remove_share", args, deadline, fence)["lazy"]:
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
        self._call("freeze_share", args, FREEZE_DEADLINE)

    def thaw_share(self, share_id: str, path: str, freeze: Freeze) -> None:
        """Undo this freeze. Raises ``FreezeLost`` unless it held until now."""
        args = {"share_id": share_id, "path": path, "token": freeze.token}
        self._call("thaw_share", args, FREEZE_DEADLINE)

    def usage(self, *, deadline: float = 10) -> tuple[ShareUsage, ...]:
        """Sizes of all shares."""
        return tuple(ShareUsage(**share) for share in self._call("usage", {}, deadline)["shares"])

    def health(self, *, deadline: float = 10) -> Health:
        """What the instance really serves."""
        answer = self._call("health", {}, deadline)
        shares = tuple(ServedShare(**share) for share in answer.pop("shares"))
        return Health(**answer, shares=shares)

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
        self, verb: str, args: dict[str, Any], deadline: float, fence: int = 0
    ) -> dict[str, Any]:
        """One request and its answer."""
        start = time.monotonic()
        end = start + deadline + GRACE
        with self._state:
            self._next_id += 1
            number = self._next_id
            self._waiting[number] = None
        request = {"id": number, "verb": verb, "fence": fence, "deadline": deadline, "args": args}
        try:
            self._send(json.dumps(request).encode() + b"\n", end)
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
        if "result" in answer:
            result: dict[str, Any] = answer["result"]
            return result
        error = answer["error"]
        raise CODES.get(error["code"], GuestError)(f"{verb}: {error['message']}")

    def _await(self, number: int, end: float) -> dict[str, Any] | None:
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
        while line := stream.readline(MAX_LINE):
            try:
                message = json.loads(line)
            except ValueError:
                continue  # what a login script prints
            if isinstance(message, dict):
                self._hear(message)
        self._words = self._ssh.words().strip()
        self._end("The connection was lost.")
        self._ssh.forget()

    def _hear(self, message: dict[str, Any]) -> None:
        with self._state:
            self._heard = time.monotonic()
            if "hello" in message:
                if message["hello"]["protocol"] == PROTOCOL:
                    self.boot_id = message["hello"]["boot_id"]
            elif message.get("id") in self._waiting:
                self._waiting[message["id"]] = message
            self._state.notify_all()

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
