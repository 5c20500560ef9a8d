"""NFS exports: one file per share, and one ``exportfs -r`` for all files that have changed.

The NFS server's own table (etab) shows which clients are admitted. It is compared before a change,
to see whether one is needed, and after it. A change is complete once the kernel can no longer use
answers from an older table (``caches``).
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator

from . import caches
from .mounts import unescape
from .rules import Rules, canonical
from .system import ANY_STATUS, ROOT, RUN, AgentError, Deadline, locked, read, remove, run, write

EXPORTS = ROOT / "etc/exports.d"
UNSETTLED = RUN / "exports.unsettled"
"""This file exists while mountd may still answer from an older table, even after a crash."""
SQUASH = {
    "root_squash": "root_squash,no_all_squash",
    "no_root_squash": "no_root_squash,no_all_squash",
    "all_squash": "root_squash,all_squash",
}


def table() -> Iterator[tuple[str, str, frozenset[str]]]:
    """The NFS server's exports: path, client and options."""
    for line in read(caches.ETAB).splitlines():
        where, _, entry = line.partition("\t")
        client, _, options = entry.partition("(")
        with contextlib.suppress(ValueError):
            client = canonical(client)
        yield unescape(where), client, _options(options)


@functools.lru_cache(maxsize=256)
def _options(text: str) -> frozenset[str]:
    return frozenset(text.rstrip(")").split(","))


def squash_of(options: frozenset[str]) -> str:
    """The squash mode of an entry of the table."""
    return next((name for name, text in SQUASH.items() if set(text.split(",")) <= options), "")


def differences(path: str, fsid: str, squash: str, rules: Rules) -> tuple[set[str], set[str]]:
    """Clients that are missing in the table or have other options, and clients to be removed."""
    served = {client: options for where, client, options in table() if where == path}
    common = {f"fsid={fsid}", *SQUASH[squash].split(",")}
    needed = {level: common | {level} for level in ("rw", "ro")}
    lacking = {to for (_, to), level in rules.items() if not needed[level] <= served.get(to, set())}
    return lacking, set(served) - {to for _, to in rules}


def narrowness(rule: tuple[tuple[str, str], str]) -> int:
    """Sort key: the prefix length of a rule; a single address is narrower than any range."""
    return int(rule[0][1].partition("/")[2] or 999)


def export(
    share_id: str, path: str, fsid: str, squash: str, rules: Rules, deadline: Deadline
) -> dict[str, str]:
    """Admit exactly the clients in ``rules``, in one step; return refused ones with the reason.

    Clients that remain allowed are not interrupted. Other clients are refused from their next
    request on, even if they have mounted the share or opened files.
    """
    # The server uses the first range that contains a client's address: narrower ones come first.
    # With ``mountpoint``, a share whose volume is lost does not show the empty directory below it.
    clients = sorted(rules.items(), key=narrowness, reverse=True)
    common = f"sync,no_subtree_check,{SQUASH[squash]},sec=sys,fsid={fsid},mountpoint"
    text = "".join(f'"{path}" {to}({level},{common})\n' for (_, to), level in clients)
    file = EXPORTS / f"{share_id}.exports"
    if (
        read(file) == text
        and differences(path, fsid, squash, rules) == (set(), set())
        and not UNSETTLED.exists()
    ):
        return {}
    if text:
        write(file, text)
    else:
        remove(file)
    words = RUNNER.run(deadline)
    lacking, extra = differences(path, fsid, squash, rules)
    if extra:
        raise AgentError("failed", f"exportfs still admits {sorted(extra)[:5]}: {words[-500:]}")
    lines = words.splitlines()
    return {
        to: next((line for line in lines if to in line), words[-500:] or "exportfs refused it.")
        for to in lacking
    }


class ExportRunner:
    """Runs ``exportfs -r``; requests that come while it runs share the next run."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._asked = 0
        self._done = 0
        self._running = False
        self._words = ""

    def run(self, deadline: Deadline) -> str:
        """Wait for a run that started after this call; return what it printed."""
        with self._turn:
            self._asked += 1
            ticket = self._asked
            while self._done < ticket:
                if self._running:
                    self._turn.wait(deadline.left())
                    continue
                upto, self._running = self._asked, True
                self._turn.release()
                try:
                    # The exit status covers all shares; the table shows the result for this one.
                    with locked("exportfs", deadline):
                        UNSETTLED.touch()
                        _, words = run(["exportfs", "-r"], deadline, ok=ANY_STATUS)
                        caches.settle(deadline)
                        UNSETTLED.unlink()
                finally:
                    self._turn.acquire()
                    self._running = False
                    self._turn.notify_all()
                self._done, self._words = upto, words
            return self._words


RUNNER = ExportRunner()
