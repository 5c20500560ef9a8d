"""Freezes a file system for a snapshot, in a way that always ends.

A share has one freeze at a time. It belongs to its asker, and has a token that the thaw must name,
so that no asker ends another's freeze unnoticed. A forked process holds the freeze. It thaws when
the time is over or the agent has ended, even if the agent was killed. While that process is alive,
it holds the share's holding lock, which all agents of this instance can see. A note in ``/run``
says whose freeze it is.

Callers of ``freeze``, ``thaw`` and ``end`` hold the lock ``lock_of(share_id)``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any

from .system import RUN, AgentError, Deadline, read, remove, write

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878

_holders: dict[str, tuple[int, socket.socket]] = {}
"""``{share id: (process id, its socket)}`` of the freezes that this agent holds."""


def lock_of(share_id: str) -> str:
    """The lock under which a share is frozen, thawed and unmounted."""
    return f"freeze-{share_id}"


def note(share_id: str) -> Path:
    """The file that says whose freeze was requested and not thawed yet."""
    return RUN / f"{share_id}.frozen"


def freeze(
    share_id: str, path: str, token: str, asker: str, seconds: float, deadline: Deadline
) -> None:
    """Freeze for at most ``seconds``; this ends an earlier freeze of the same ``asker``.

    Raises ``AgentError`` (busy) during the freeze of another asker.
    """
    if _is_held(share_id) and _noted(share_id).get("asker") != asker:
        raise AgentError("busy", f"{path} is frozen for another request.")
    end(share_id, path, deadline)
    holding = _take(share_id)
    if holding is None:
        raise AgentError("busy", f"{path} is still frozen for another request.")
    ours, theirs = socket.socketpair()
    holder = os.fork()
    if holder == 0:
        _hold(path, seconds, theirs.fileno(), holding)
    theirs.close()
    os.close(holding)
    _holders[share_id] = (holder, ours)
    write(note(share_id), json.dumps({"token": token, "asker": asker, "holder": holder}))
    try:
        ours.settimeout(deadline.left())
        answer = ours.recv(16)
    except (OSError, AgentError):
        answer = b""
    if answer != b"0":
        _release(share_id)
        remove(note(share_id))
        words = os.strerror(int(answer)) if answer else "it took too long"
        raise AgentError("failed", f"{path} can't be frozen: {words}.")


def thaw(share_id: str, path: str, token: str, deadline: Deadline) -> bool:
    """End the freeze with this token, of any agent; return whether it lasted until now.

    A freeze with another token is not ended.
    """
    if _noted(share_id).get("token") != token:
        return False
    held = _is_held(share_id) and thaw_any(path)
    end(share_id, path, deadline)
    return held


def end(share_id: str, path: str, deadline: Deadline) -> None:
    """End the share's freeze, whatever its token. Its thaw will report that it was lost."""
    _release(share_id)
    while _is_held(share_id):
        _stop(share_id)
        deadline.left()
        time.sleep(0.01)
    if note(share_id).exists():
        thaw_any(path)  # if its holder was killed, the file system is still frozen
        remove(note(share_id))


def thaw_any(path: str) -> bool:
    """Thaw the file system; return False if it was not frozen."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.ioctl(handle, FITHAW, 0)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def release_all() -> None:
    """End all freezes of this agent."""
    for share_id in list(_holders):
        _release(share_id)


def _release(share_id: str) -> None:
    """End this agent's freeze of a share, if there is one."""
    if share_id in _holders:
        holder, channel = _holders.pop(share_id)
        channel.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(holder, 0)


def _noted(share_id: str) -> dict[str, Any]:
    try:
        found = json.loads(read(note(share_id), "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _take(share_id: str) -> int | None:
    """Take the holding lock; return None if a live holder has it."""
    RUN.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(RUN / f"holding-{share_id}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _is_held(share_id: str) -> bool:
    handle = _take(share_id)
    if handle is not None:
        os.close(handle)
    return handle is None


def _stop(share_id: str) -> None:
    """Tell another agent's holder to thaw. It holds the lock, so its process id is valid."""
    with contextlib.suppress(OSError, KeyError, TypeError):
        holder = os.pidfd_open(_noted(share_id)["holder"])
        try:
            if _is_held(share_id):
                signal.pidfd_send_signal(holder, signal.SIGUSR1)
        finally:
            os.close(holder)


def _hold(path: str, seconds: float, channel: int, holding: int) -> None:
    """Run the holding process, which closes all files of the agent and never returns."""
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        stopped, stop = os.pipe()
        os.set_blocking(stop, False)
        signal.signal(signal.SIGUSR1, lambda *_: os.write(stop, b"."))
        null = os.open("/dev/null", os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        first = 3
        for kept in sorted((channel, holding, stopped, stop)):
            os.closerange(first, kept)
            first = kept + 1
        os.closerange(first, 65536)
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, FIFREEZE, 0)
        except OSError as error:
            os.write(channel, str(error.errno).encode())
            return
        try:
            os.write(channel, b"0")
            select.select([channel, stopped], [], [], seconds)
        finally:
            fcntl.ioctl(handle, FITHAW, 0)
    finally:
        os._exit(0)
