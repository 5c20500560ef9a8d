"""Shows each step while it runs, and at the end a table of all steps with their durations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from atoll.cli.progress import working


class CheckFailed(Exception):
    """A check of the demo has failed."""


@dataclass
class Step:
    """One line of the table; the step itself sets ``detail``."""

    title: str
    detail: str = ""
    seconds: float = 0.0
    ok: bool = False


class Steps:
    """The steps so far."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps: list[Step] = []

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Run a step: show a spinner or lines while it runs, and a line when it is done."""
        step = Step(title)
        self._steps.append(step)
        began = time.monotonic()
        try:
            with working(self._console, title, announce=False):
                yield step
            step.ok = True
        finally:
            step.seconds = time.monotonic() - began
            mark = "[green]✓[/]" if step.ok else "[red]✗[/]"
            line = f"{mark} {step.seconds:6.1f} s  {title}"
            detail = f": {escape(step.detail)}" if step.detail else ""
            self._console.print(line + detail, highlight=False, soft_wrap=True)
            self._console.file.flush()

    def table(self) -> Table:
        """A table of the steps and their durations."""
        table = Table("step", "what was seen", "seconds", title="What the demo did")
        table.columns[2].justify = "right"
        for step in self._steps:
            table.add_row(step.title, escape(step.detail), f"{step.seconds:.1f}")
        total = sum(step.seconds for step in self._steps)
        table.add_section()
        table.add_row("all", "", f"{total:.1f}")
        return table


def check(condition: object, sentence: str) -> None:
    """Raise ``CheckFailed`` with the sentence unless the condition is true."""
    if not condition:
        raise CheckFailed(sentence)
