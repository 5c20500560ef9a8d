"""Waits for what comes about by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotInTime(AssertionError):
    """What was waited for has not come about."""


def wait(what: str, look: Callable[[], T], seconds: float = 300, pause: float = 0.1) -> T:
    """Call ``look`` until its result is true, and return that. Exceptions of ``look`` end the wait.

    Between the first looks it sleeps for a tenth of ``pause`` seconds, then for longer, and in the
    end for ``pause``: each look costs CPU time that those who are waited for may need. Raises
    ``NotInTime``, which names ``what``, after ``seconds``.
    """
    end = time.monotonic() + seconds
    nap = pause / 10
    while not (seen := look()):
        if time.monotonic() > end:
            raise NotInTime(f"{what} did not happen within {seconds:g} s")
        time.sleep(nap)
        nap = min(pause, 1.5 * nap)
    return seen
