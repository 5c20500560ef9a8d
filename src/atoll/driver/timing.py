"""How long steps take, told to the log: the same lines serve operators and the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

log = structlog.get_logger(__name__)


@contextmanager
def timed(event: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Log ``event`` with its ``seconds`` when the block is done; a failure logs nothing.

    What the block adds to the yielded facts is logged as well.
    """
    begun = time.monotonic()
    yield facts
    log.info(event, seconds=round(time.monotonic() - begun, 3), **facts)
