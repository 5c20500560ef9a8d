"""Files with mode 0600 that exist only while ssh logs in.

A process that is killed meanwhile leaves its files, including login keys. So each process locks its
files: a file without a lock belongs to a dead process, and ``sweep`` removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

SUFFIXES = (".key", ".hosts", ".bastion", ".bastion-hosts")


class PrivateFile:
    """A locked file with mode 0600, which exists until ``remove``."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._handle: int | None = None
        while self._handle is None:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                self._handle = handle
            else:  # another process removed it before it was locked
                os.close(handle)
        with os.fdopen(os.dup(self._handle), "w", encoding="utf-8") as file:
            file.write(text)

    def remove(self) -> None:
        """Remove the file, which may be absent."""
        self.path.unlink(missing_ok=True)
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def new_stem(folder: Path) -> str:
    """Make and sweep the folder; return a unique prefix for the names of new files in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(folder)
    return secrets.token_hex(8)


def sweep(folder: Path) -> None:
    """Remove the files of dead processes in the folder, if it exists."""
    for path in folder.glob("*.*"):
        if path.suffix not in SUFFIXES:
            continue
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
                path.unlink()
            finally:
                os.close(handle)
