"""NFS exports: one file a share, one ``exportfs -r`` for everything that has changed meanwhile.

The NFS server's own table (etab) is the truth about who is let in: every change is checked against
it, and so is whether there is anything to change. A change counts once the kernel cannot answer by
an older table any more (``caches``).
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
"""This file exists while mountd may still answer from an older table, also after a crash."""
SQUASH = {
    "root_squash": "root_squash,no_all_squash",
    "no_root_squash": "no_root_squash,no_all_squash",
    "all_squash": "root_squash,all_squash",
}


def table() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Who the NFS server lets in: path, client, options."""
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
    """Clients that the table lacks or has otherwise, and clients that it should not have."""
    served = {client: options for where, client, options in table() if where == path}
    common = {f"fsid={fsid}", *SQUASH[squash].split(",")}
    needed = {level: common | {level} for level in ("rw", "ro")}
    lacking = {to for (_, to), level in rules.items() if not needed[level] <= served.get(to, set())}
    return lacking, set(served) - {to for _, to in rules}


def narrowness(rule: tuple[tuple[str, str], str]) -> int:
    """How many bits of an address a rule fixes; of a single address more than of any range."""
    return int(rule[0][1].partition("/")[2] or 999)


def export(
    share_id: str, path: str, fsid: str, squash: str, rules: Rules, deadline: Deadline
) -> dict[str, str]:
    """Let in whom ``rules`` name and nobody else, in one step; ``{client: why not}``.

    A client that stays allowed notices nothing. One that doesn't is refused from its next request
    on, whatever it has mounted or opened.
    """
    # Of two ranges that hold a client's address the server takes the first: narrower ones lead.
    # ``mountpoint``: a share whose volume is lost must not show the empty directory below it.
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
        raise AgentError("failed", f"exportfs still lets in {sorted(extra)[:5]}: {words[-500:]}")
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
        """What a run printed that began after this call."""
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
                    # The exit status speaks of all shares' lines; the table is asked about ours.
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
