"""Shows which workers of this machine are alive: each locks a file as long as it runs.

The kernel releases a lock when its process ends for any reason. So a new worker knows for certain
which earlier workers are dead, and need not wait until their leases expire. Workers on other
machines have no file in this directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class WorkerLocks:
    """A directory of lock files that belongs to one database."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: int | None = None

    def enter(self, worker: str) -> None:
        """Lock the file of this worker, whose name is unique, until ``leave`` or its end."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = os.open(self._file(worker), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._held, fcntl.LOCK_EX)  # `gone` of another worker may hold it for a moment

    def leave(self) -> None:
        """Release the lock, so that others see that this worker has stopped. The file stays."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def gone(self, workers: Iterable[str]) -> list[str]:
        """Return the named workers that ran on this machine and are dead."""
        return [worker for worker in workers if self._is_dead(self._file(worker))]

    def sweep(self) -> None:
        """Remove the files of dead workers; call it once their operations are taken over."""
        for file in self._directory.iterdir():
            if self._is_dead(file):
                file.unlink(missing_ok=True)

    def _file(self, worker: str) -> Path:
        return self._directory / hashlib.sha256(worker.encode()).hexdigest()[:32]

    @staticmethod
    def _is_dead(file: Path) -> bool:
        with suppress(FileNotFoundError):
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            finally:
                os.close(descriptor)
            return True
        return False
