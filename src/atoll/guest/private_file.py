"""Files that only their owner may read, and that exist only while ssh logs in.

A process that is killed meanwhile leaves its files, login keys among them. So each process locks
its files: a file without a lock belongs to a dead process, and ``sweep`` removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

SUFFIXES = (".key", ".hosts", ".bastion", ".bastion-hosts")


class PrivateFile:
    """A file, mode 0600, from its making until ``remove``."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._handle: int | None = None
        while self._handle is None:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                self._handle = handle
            else:  # swept before it was locked
                os.close(handle)
        with os.fdopen(os.dup(self._handle), "w", encoding="utf-8") as file:
            file.write(text)

    def remove(self) -> None:
        """Absent is fine."""
        self.path.unlink(missing_ok=True)
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def new_stem(folder: Path) -> str:
    """Make and sweep the folder; return the prefix of new files' paths in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(folder)
    return secrets.token_hex(8)


def sweep(folder: Path) -> None:
    """Remove the files that dead processes have left in the folder, if it is there."""
    for path in folder.glob("*.*"):
        if path.suffix not in SUFFIXES:
            continue
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its maker lives
                path.unlink()
            finally:
                os.close(handle)
