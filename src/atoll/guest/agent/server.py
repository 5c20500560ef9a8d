"""The line protocol: reads requests from stdin and answers them on stdout in any order."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from typing import Any

from . import clients, freezing, report, shares, state
from .records import boot_id
from .system import URGENT, AgentError, Deadline

PROTOCOL = 1
MAX_LINE = 8 * 1024 * 1024
VERBS = {
    "apply_share": shares.apply_share,
    "remove_share": shares.remove_share,
    "freeze_share": shares.freeze_share,
    "thaw_share": shares.thaw_share,
    "keep_state": state.keep_state,
    "start_nfs": state.start_nfs,
    "notify_clients": clients.notify_clients,
    "usage": report.usage,
    "health": report.health,
    "admitted": report.admitted,
}
SLOW = ("apply_share", "remove_share", "keep_state", "start_nfs", "notify_clients")
AT_ONCE_SLOW, AT_ONCE_QUICK = 6, 4
"""Few requests run at once, because after a reboot a small machine gets requests for all shares."""


class Server:
    """The requests and answers of one channel."""

    def __init__(self) -> None:
        self._output = threading.Lock()
        # A thread pool is not used, because importing it takes an emulated instance 0.1 s.
        self._slow = threading.Semaphore(AT_ONCE_SLOW)
        self._quick = threading.Semaphore(AT_ONCE_QUICK)

    def serve(self) -> None:
        """Answer requests until the channel ends; requests that have begun are finished."""
        self._say({"hello": {"protocol": PROTOCOL, "boot_id": boot_id()}})
        while line := sys.stdin.buffer.readline(MAX_LINE):
            if not line.endswith(b"\n") and len(line) >= MAX_LINE:
                self._refuse(None, "invalid", "The request is too large.")
                while line and not line.endswith(b"\n"):  # skip the rest of the line
                    line = sys.stdin.buffer.readline(MAX_LINE)
                continue
            self._accept(line)

    def _accept(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            number, verb = int(request["id"]), str(request["verb"])
            deadline = Deadline(float(request.get("deadline") or 60))
            args, fence = dict(request.get("args") or {}), int(request.get("fence") or 0)
        except (ValueError, TypeError, KeyError, AttributeError):
            self._refuse(None, "invalid", "This is not a request.")
            return
        if verb == "ping":  # answered even if all turns are taken
            self._say({"id": number, "result": {}})
            return
        if verb not in VERBS:
            self._refuse(number, "unknown_verb", f"There is no verb {verb[:40]!r}.")
            return
        # The thread is not a daemon, so a request is finished even if the channel ends.
        threading.Thread(target=self._take_turn, args=(number, verb, args, fence, deadline)).start()

    def _take_turn(
        self, number: int, verb: str, args: dict[str, Any], fence: int, deadline: Deadline
    ) -> None:
        with self._slow if verb in SLOW else self._quick:
            self._answer(number, verb, args, fence, deadline)

    def _answer(
        self, number: int, verb: str, args: dict[str, Any], fence: int, deadline: Deadline
    ) -> None:
        try:
            deadline.left()  # it may have waited too long for its turn
            self._say({"id": number, "result": VERBS[verb](args, fence, deadline)})
        except AgentError as error:
            self._refuse(number, error.code, str(error))
        except Exception as error:  # noqa: BLE001 - the outermost frame of a request
            self._refuse(number, "failed", f"{type(error).__name__}: {error}")

    def _refuse(self, number: int | None, code: str, message: str) -> None:
        self._say({"id": number, "error": {"code": code, "message": message}})

    def _say(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._output, contextlib.suppress(OSError, ValueError):  # the channel may have ended
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()


def main() -> None:
    """Serve this channel, and end all its freezes."""
    os.umask(0o022)
    with contextlib.suppress(PermissionError):  # only tests run it without root
        os.setpriority(os.PRIO_PROCESS, 0, URGENT)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        Server().serve()
    finally:
        freezing.release_all()
