"""Disk space that is reserved for reading and deleting when the disk is full.

SQLite writes before it deletes, and after a restart it needs new files even to read. So some files
in the database's directory reserve space for it. When the disk is full, they are removed one at a
time, because another program that fills the disk could use the space of all of them at once.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from atoll.db import neighbours

FILES: Final = 8
LARGEST: Final = 2 * 2**20
"""Largest size of a file in bytes; on a small disk all files together use an eighth of it."""


class Reserve:
    """The files in ``directory``, which is made when there is enough space."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._place = str(directory.parent)  # each transaction asks how much space it has

    def keep(self) -> None:
        """Make the files that are missing, if there is space. Safe to call at any time."""
        _, size = self._space()
        for number in range(FILES):
            path = self._directory / str(number)
            if path.exists():
                continue
            free, _ = self._space()
            if free < 4 * size:
                return
            try:
                neighbours.make_directory(self._directory, to_write=True)
                self._fill(path, size)
            except OSError:
                return  # another process made it first, or the disk is full

    def is_needed(self) -> bool:
        """Whether so little space is left that even a small change may fail."""
        free, size = self._space()
        return free < size // 2

    def has_room_for_more(self) -> bool:
        """Whether there is space for new resources besides the reserve."""
        free, size = self._space()
        return free >= size

    def release(self) -> None:
        """Remove one file, to free its space."""
        for number in reversed(range(FILES)):
            try:
                (self._directory / str(number)).unlink()
            except OSError:
                continue
            return

    @staticmethod
    def _fill(path: Path, size: int) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)  # left by a dead process with the same process id
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            draft.rename(path)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            raise
        finally:
            os.close(descriptor)

    def _space(self) -> tuple[int, int]:
        """Bytes that are free, and the bytes of one file of the reserve."""
        room = os.statvfs(self._place)
        size = min(LARGEST, room.f_blocks * room.f_frsize // (8 * FILES))
        return room.f_bavail * room.f_frsize, size
