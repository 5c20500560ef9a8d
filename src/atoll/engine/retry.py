"""When a failed operation is tried again, and when it is given up."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """Waits ``first`` seconds, doubling up to ``longest``; gives up after ``tries`` or ``age``."""

    first: float = 1.0
    longest: float = 60.0
    tries: int = 12
    age: float = 3600.0
    """Seconds since the operation was requested; the first three tries are made in any case."""

    def delay(self, failed: int) -> float:
        """Seconds to wait after the ``failed``-th failure, with jitter against stampedes."""
        whole = min(self.longest, self.first * 2.0 ** min(failed - 1, 30))
        return whole * random.uniform(0.75, 1.0)

    def is_over(self, failed: int, age: float) -> bool:
        """Whether the ``failed``-th try was the last one."""
        return failed >= self.tries or (age > self.age and failed >= 3)
