"""Shows the progress of a command: by a spinner or a bar on a terminal, otherwise by plain lines.

Without a terminal (in a log, CI or ssh) there are no control characters and no line breaks. There
is a line for each phase, and another every half minute during a long phase.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

HEARTBEAT_SECONDS = 30.0
"""Seconds between two lines during one phase, without a terminal."""

_NEVER_BREAK = 100_000
"""Columns without a terminal, so that no line is broken."""

Show = Callable[[str, float | None], None]
"""A function of the phase, and of the total progress from 0 to 1, or None if it is unknown."""


def make_console(*, stderr: bool = False) -> Console:
    """A console for standard output or error, which breaks lines only on a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _NEVER_BREAK)


def moves(console: Console) -> bool:
    """Whether a spinner can be shown there; colours alone (FORCE_COLOR) are not enough."""
    return console.file.isatty() and not console.is_dumb_terminal


class Heartbeat:
    """Writes a line at intervals until it is stopped.

    If several run at once, only the last one writes, because it has the most specific text.
    """

    _running: list[Heartbeat] = []  # noqa: RUF012 - it is meant to be shared

    def __init__(self, console: Console, text: str, seconds: float | None = None) -> None:
        self.text = text
        self._console = console
        self._seconds = HEARTBEAT_SECONDS if seconds is None else seconds
        self._began = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._running.append(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._running.remove(self)
        self._thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(self._seconds):
            if self._running[-1] is self:
                spent = time.monotonic() - self._began
                say(self._console, f"  {spent:5.0f} s  {self.text} …")


def say(console: Console, line: str) -> None:
    """Write one line without markup or line breaks, and flush it."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.file.flush()


@contextmanager
def working(console: Console, text: str, *, announce: bool = True) -> Iterator[None]:
    """Show a spinner during work; without a terminal, print a line if ``announce``."""
    if moves(console):
        with console.status(f"{text} …"):
            yield
        return
    if announce:
        say(console, text)
    with Heartbeat(console, text):
        yield


@contextmanager
def phases(console: Console, title: str, subject: str) -> Iterator[Show]:
    """Show work in phases: by a bar with ``title``, or a line ``subject: phase`` for each."""
    if moves(console):
        columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as display:
            task = display.add_task(title, total=1.0)
            yield lambda phase, part: display.update(task, description=phase, completed=part)
        return
    with Heartbeat(console, title) as heartbeat:
        last = ""

        def show(phase: str, part: float | None) -> None:
            nonlocal last
            if phase != last:
                last = phase
                say(console, f"{subject}: {phase}")
            done = "" if part is None else f", {part:.0%} of the total"
            heartbeat.text = f"{subject}: {phase}{done}"

        yield show
