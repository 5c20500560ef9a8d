"""Freezing a file system for a snapshot, so that it ends by itself whatever happens.

The freeze is held by a forked process that thaws when its time is up or when the agent is gone,
even if that was killed. A note in ``/run`` tells any agent of this instance that a freeze was asked
for; a thaw that finds the note but nothing frozen knows that the freeze ended too early.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
from pathlib import Path

from .system import RUN, AgentError, Deadline, remove, write

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878

_holders: dict[str, tuple[int, socket.socket]] = {}
"""``{path: (process id, its socket)}`` of the freezes that this agent holds."""


def note(share_id: str) -> Path:
    """The file that says that a freeze was asked for and has not been undone."""
    return RUN / f"{share_id}.frozen"


def freeze(share_id: str, path: str, seconds: float, deadline: Deadline) -> None:
    """Freeze for at most ``seconds``."""
    release(path)
    write(note(share_id), f"{seconds}\n")
    ours, theirs = socket.socketpair()
    holder = os.fork()
    if holder == 0:
        _hold(path, seconds, theirs.fileno())
    theirs.close()
    _holders[path] = (holder, ours)
    try:
        ours.settimeout(deadline.left())
        answer = ours.recv(16)
    except (OSError, AgentError):
        answer = b""
    if answer != b"0":
        release(path)
        remove(note(share_id))
        words = os.strerror(int(answer)) if answer else "it takes too long"
        raise AgentError("failed", f"{path} can't be frozen: {words}.")


def thaw(path: str) -> bool:
    """Thaw, whoever froze it; False if nothing was frozen."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, FITHAW, 0)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def release(path: str) -> None:
    """End this agent's freeze of ``path``, if there is one."""
    if path in _holders:
        holder, channel = _holders.pop(path)
        channel.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(holder, 0)


def release_all() -> None:
    """End all freezes of this agent."""
    for path in list(_holders):
        release(path)


def _hold(path: str, seconds: float, channel: int) -> None:
    """The holding process: nothing of the agent's stays open in it, and it never returns."""
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.closerange(3, channel)
        os.closerange(channel + 1, 65536)
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, FIFREEZE, 0)
        except OSError as error:
            os.write(channel, str(error.errno).encode())
            return
        try:
            os.write(channel, b"0")
            select.select([channel], [], [], seconds)
        finally:
            fcntl.ioctl(handle, FITHAW, 0)
    finally:
        os._exit(0)
