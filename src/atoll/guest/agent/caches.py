"""The kernel's caches of export permissions, and mountd, which fills them.

The NFS server asks mountd about each client, path and file handle that it does not know, and keeps
the answer for half an hour. ``exportfs`` writes the new table and then empties these caches; but an
answer that mountd has begun from the old table may arrive after that, and would stay: a client that
a rule now allows would be refused, or one without a rule let in.

mountd looks for a new table before each answer. So no old answer can arrive any more once mountd
waits for questions, or has the new table open.
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
"""The caches, in an order in which each comes before those that it refers to."""
DAEMONS = ("rpc.mountd", "nfsv4.exportd")
WAITING = ("do_select", "poll_schedule_timeout", "do_sys_poll", "ep_poll", "do_wait")
"""Functions of the kernel in which a daemon waits for its next question."""
PAUSE, STILL = 0.002, 0.1
"""Seconds between two looks at a daemon at work, and after which one sleep is a wait for questions
where the kernel does not tell its function: an answer is made without sleeping."""

_daemons: list[Path] = []


def settle(deadline: Deadline) -> None:
    """Empty the caches once no answer from an older table than today's can come any more.

    A daemon that has nothing to do costs no time. Raises ``AgentError`` (deadline) when one is
    still at work on an answer by then.
    """
    if not (PROC / "net/rpc/nfsd.export").exists():  # the server has never run
        return
    for daemon in daemons():
        await_answer(daemon, deadline)
    for cache in CACHES:
        # A time in the future removes everything that is in the cache now.
        tell(PROC / "net/rpc" / cache / "flush", f"{int(time.time()) + 1}\n")


def await_answer(daemon: Path, deadline: Deadline) -> None:
    """Wait until the answer that the daemon is at work on, if any, has reached the kernel."""
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
    """The processes that answer the kernel. They seldom change, and looking for them is slow."""
    if not _daemons or not all(name_of(daemon) in DAEMONS for daemon in _daemons):
        _daemons[:] = [path for path in PROC.glob("[0-9]*") if name_of(path) in DAEMONS]
    return _daemons


def name_of(process: Path) -> str:
    """What the process runs; empty once it has ended."""
    return read(process / "comm").strip()


def is_waiting(process: Path) -> bool:
    """Whether it waits for a question, or has ended."""
    return read(process / "wchan").startswith(WAITING) or not name_of(process)


def sleep_of(process: Path) -> str:
    """What tells one sleep of a process from its others; empty while it works or awaits a disk."""
    words = dict(line.partition(":")[::2] for line in read(process / "status").splitlines())
    asleep = words.get("State", "").split()[:1] == ["S"]
    return words.get("voluntary_ctxt_switches", "").strip() if asleep else ""


def has_new_table(process: Path) -> bool:
    """Whether it has the present table open: mountd keeps open the table that it has read."""
    with contextlib.suppress(OSError):
        current = ETAB.stat()
        for handle in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(handle.stat(), current):
                    return True
    return False
