"""How long steps take. It is logged for operators, and benchmarks read the same lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

log = structlog.get_logger(__name__)


@contextmanager
def timed(event: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Log ``event`` with its ``seconds`` when the block has ended without an error.

    Facts that the block adds to those yielded are logged as well.
    """
    begun = time.monotonic()
    yield facts
    log.info(event, seconds=round(time.monotonic() - begun, 3), **facts)
