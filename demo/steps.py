"""Shows each step while it runs, and at the end a table of what was done and how long it took."""

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
    """Something is not as the demo promises."""


@dataclass
class Step:
    """One line of the table; ``detail`` is filled in by the step itself."""

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
        """One step: a line when it is done; till then a spinner, or a line now and then."""
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
        """What was done, and how long each step took."""
        table = Table("step", "what was seen", "seconds", title="What the demo did")
        table.columns[2].justify = "right"
        for step in self._steps:
            table.add_row(step.title, escape(step.detail), f"{step.seconds:.1f}")
        total = sum(step.seconds for step in self._steps)
        table.add_section()
        table.add_row("all", "", f"{total:.1f}")
        return table


def check(condition: object, sentence: str) -> None:
    """Fail with a sentence unless the condition holds."""
    if not condition:
        raise CheckFailed(sentence)
