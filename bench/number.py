"""A measured number, and tables of numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Number:
    """A measured number, with several samples if measurements vary."""

    what: str
    samples: Sequence[float]
    unit: str
    at_most: float | None = None
    """The target; None if there is no target."""
    note: str = ""

    @property
    def least(self) -> float:
        """The smallest sample, which other load has affected least."""
        return min(self.samples)

    @property
    def median(self) -> float:
        """The median of the samples, to which the target applies."""
        return statistics.median(self.samples)

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or ``met at best`` if only the smallest sample meets the target."""
        if self.at_most is None:
            return ""
        if self.median <= self.at_most:
            return "met"
        return "met at best" if self.least <= self.at_most else "missed"

    def facts(self) -> dict[str, Any]:
        """The number as a dictionary, for JSON."""
        derived = {"least": self.least, "median": self.median, "verdict": self.verdict}
        return asdict(self) | derived


def table(title: str, command: str, numbers: Sequence[Number]) -> Table:
    """A table of numbers for the terminal."""
    drawn = Table(title=f"{title}   ({command})", title_justify="left", title_style="bold")
    for column in ("number", "target", "least", "median", "times", "", "note"):
        drawn.add_column(column, justify="left" if column in ("number", "", "note") else "right")
    for one in numbers:
        target = "" if one.at_most is None else f"≤ {one.at_most:g} {one.unit}"
        least, median = (f"{value:.4g} {one.unit}" for value in (one.least, one.median))
        drawn.add_row(one.what, target, least, median, str(len(one.samples)), one.verdict, one.note)
    return drawn
