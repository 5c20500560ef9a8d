"""A thread that restores the isolation of instances on this machine every few seconds.

It waits neither for the database nor for the reconcile pass.
"""

from __future__ import annotations

import threading

import structlog

from atoll.cloud.base import Cloud
from atoll.errors import AtollError

log = structlog.get_logger(__name__)


class Guard:
    """Calls the cloud's ``tend`` every ``interval`` seconds."""

    def __init__(self, cloud: Cloud, interval: float = 5.0) -> None:
        self._cloud = cloud
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)

    def start(self) -> None:
        """Start the thread, which calls ``tend`` at once and then at every interval."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout=self._interval)

    def _run(self) -> None:
        while True:
            try:
                tend(self._cloud)
            except Exception:
                log.exception("guard.failed")  # any error, because the next call may succeed
            if self._stopping.wait(self._interval):
                return


def tend(cloud: Cloud, *, wholly: bool = False) -> None:
    """Call ``tend``; log what it restored, or that it failed."""
    try:
        for done in cloud.tend(wholly=wholly):
            log.warning("guard.isolation_restored", what=done)
    except (AtollError, OSError) as error:
        log.error("guard.failed", error=str(error))
