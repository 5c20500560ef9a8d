"""A thread that keeps the cloud's isolation as it must be on this machine, every few seconds.

It waits for nobody: neither for the database, nor for the pass over everything.
"""

from __future__ import annotations

import threading

import structlog

from atoll.cloud.base import Cloud
from atoll.errors import AtollError

log = structlog.get_logger(__name__)


class Guard:
    """Has the cloud tended every ``interval`` seconds."""

    def __init__(self, cloud: Cloud, interval: float = 5.0) -> None:
        self._cloud = cloud
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)

    def start(self) -> None:
        """Look at once, then go on in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout=self._interval)

    def _run(self) -> None:
        while True:
            tend(self._cloud)
            if self._stopping.wait(self._interval):
                return


def tend(cloud: Cloud, *, wholly: bool = False) -> None:
    """Have it tended, and tell operators of what had to be put right, or could not be."""
    try:
        for done in cloud.tend(wholly=wholly):
            log.warning("guard.put_right", what=done)
    except (AtollError, OSError) as error:
        log.error("guard.failed", error=str(error))
