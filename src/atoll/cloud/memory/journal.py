"""The journal of calls to the simulated cloud and its guests: which, by what process, and when.

Tests use it to count calls, and to list the points at which a worker may be killed:

    start = cloud.journal.mark()
    ...                                     # a create, undisturbed
    points = cloud.journal.calls(since=start)
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass

from atoll.cloud.memory.world import World


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was begun, even if its process was killed before it took effect."""

    number: int
    name: str
    """Port and verb, such as ``volumes.create_volume``."""
    about: str
    """Owner, ids and plain arguments, without secrets."""
    pid: int
    time: float
    """Wall-clock time in seconds."""


class Journal:
    """The calls made on a world, by all processes that have their journal on."""

    def __init__(self, world: World, *, on: bool = True) -> None:
        self._world = world
        self.on = on

    def write(self, name: str, about: str) -> None:
        """Record a call. Call this within a change."""
        self._world.execute(
            "INSERT INTO journal (name, about, pid, time) VALUES (?, ?, ?, ?)",
            name,
            about,
            os.getpid(),
            time.time(),
        )

    def mark(self) -> int:
        """The number of the last call, for ``since``."""
        row = self._world.row("SELECT max(number) FROM journal")
        return (row and row[0]) or 0

    def calls(self, name: str = "*", *, about: str = "", since: int = 0) -> list[Call]:
        """Calls in their order. ``name`` may be a pattern, long (``guest.*``) or short."""
        rows = self._world.rows(
            "SELECT number, name, about, pid, time FROM journal WHERE number > ?"
            " AND instr(about, ?) AND (name GLOB ? OR name GLOB ?) ORDER BY number",
            since,
            about,
            name,
            f"*.{name}",
        )
        return [Call(*row) for row in rows]

    def count(self, name: str = "*", *, about: str = "", since: int = 0) -> int:
        """The number of calls."""
        return len(self.calls(name, about=about, since=since))

    def counts(self, *, since: int = 0) -> Counter[str]:
        """The number of calls by name."""
        return Counter(
            dict(
                self._world.rows(
                    "SELECT name, count(*) FROM journal WHERE number > ? GROUP BY name", since
                )
            )
        )

    def clear(self) -> None:
        """Delete all calls."""
        with self._world.change():
            self._world.execute("DELETE FROM journal")
