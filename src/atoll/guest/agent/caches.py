"""The kernel's caches of export permissions, and mountd, which fills them.

The NFS server asks mountd about each unknown client, path and file handle, and caches the answer
for half an hour. ``exportfs`` writes the new table and then flushes these caches. But an answer
that mountd has begun with the old table may arrive after the flush, and would stay in the cache.
Then a client that a rule now allows would be refused, or a client without a rule admitted.

mountd checks for a new table before each answer. So no old answer can arrive once mountd waits for
questions, or has the new table open.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from .system import ROOT, AgentError, Deadline, read, tell

PROC = ROOT / "proc"
ETAB = ROOT / "var/lib/nfs/etab"
CACHES = ("auth.unix.ip", "auth.unix.gid", "nfsd.fh", "nfsd.export")
"""The caches, each before those that it refers to."""
DAEMONS = ("rpc.mountd", "nfsv4.exportd")
WAITING = ("do_select", "poll_schedule_timeout", "do_sys_poll", "ep_poll", "do_wait")
"""Kernel functions in which a daemon waits for its next question."""
PAUSE, STILL = 0.002, 0.1
"""``PAUSE`` is the time in seconds between checks of a busy daemon. If the kernel does not show the
function, a daemon that has slept for ``STILL`` seconds waits for questions, because it does not
sleep while it answers one."""

_daemons: list[Path] = []


def settle(deadline: Deadline) -> None:
    """Flush the caches once no answer from an older table can arrive any more.

    There is no wait for an idle daemon. Raises ``AgentError`` (deadline) if a daemon is still busy
    with an answer at the deadline.
    """
    if not (PROC / "net/rpc/nfsd.export").exists():  # the server has never run
        return
    for daemon in daemons():
        await_answer(daemon, deadline)
    for cache in CACHES:
        # A time in the future removes all present entries.
        tell(PROC / "net/rpc" / cache / "flush", f"{int(time.time()) + 1}\n")


def await_answer(daemon: Path, deadline: Deadline) -> None:
    """Wait until the daemon's present answer, if there is one, has reached the kernel."""
    seen, since = "", time.monotonic()
    while not (is_waiting(daemon) or has_new_table(daemon)):
        now, sleep = time.monotonic(), sleep_of(daemon)
        if sleep != seen:
            seen, since = sleep, now
        elif sleep and now - since >= STILL:
            return
        if now >= deadline.end:
            raise AgentError("deadline", "mountd is still answering from the old exports.")
        time.sleep(PAUSE)


def daemons() -> list[Path]:
    """The processes that answer the kernel, which are cached because finding them is slow."""
    if not _daemons or not all(name_of(daemon) in DAEMONS for daemon in _daemons):
        _daemons[:] = [path for path in PROC.glob("[0-9]*") if name_of(path) in DAEMONS]
    return _daemons


def name_of(process: Path) -> str:
    """The name of the process's program; empty once it has ended."""
    return read(process / "comm").strip()


def is_waiting(process: Path) -> bool:
    """Whether the process waits for a question, or has ended."""
    return read(process / "wchan").startswith(WAITING) or not name_of(process)


def sleep_of(process: Path) -> str:
    """A value that identifies one sleep of a process; empty while it runs or waits for a disk."""
    words = dict(line.partition(":")[::2] for line in read(process / "status").splitlines())
    asleep = words.get("State", "").split()[:1] == ["S"]
    return words.get("voluntary_ctxt_switches", "").strip() if asleep else ""


def has_new_table(process: Path) -> bool:
    """Whether the process has the present table open, because mountd keeps its table open."""
    with contextlib.suppress(OSError):
        current = ETAB.stat()
        for handle in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(handle.stat(), current):
                    return True
    return False
