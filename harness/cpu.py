"""Limits on CPU time, for tests of code that must stay cheap."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cpu_seconds(limit: float) -> Iterator[None]:
    """Fail if what is inside takes more of this thread's CPU time.

    Garbage collection is not counted, because it takes longer the more tests this process has run,
    and neither are other threads, which an earlier test may have left.
    """
    gc.collect()
    gc.disable()
    start = time.thread_time()
    try:
        yield
    finally:
        used = time.thread_time() - start
        gc.enable()
    assert used < limit, f"{used:.3f} s of CPU time, which may be {limit:g} s"
