"""Files in the directory of the SQLite database, which the users of worker and API may share.

The directory determines who may use the database. If its group may write to it, all files that
Atoll makes in it are accessible to that group. Otherwise only their owner may access them. Existing
files keep their mode, because the other user could have replaced them by links.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def group_of(directory: Path) -> int | None:
    """The group that may write to ``directory``; None if the group may not."""
    found = directory.stat()
    return found.st_gid if found.st_mode & stat.S_IWGRP else None


def make_file(path: Path) -> None:
    """Make an empty file that its owner and the directory's group may read and write."""
    group = group_of(path.parent)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        return
    try:
        if group is not None:
            os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, 0o660)
    finally:
        os.close(descriptor)


def make_directory(path: Path, *, to_write: bool = False) -> None:
    """Make a directory that its owner may write, and the parent directory's group may read.

    With ``to_write`` the group may also make and remove files in it. Then files must be made there
    without following links (``O_EXCL``).
    """
    group = group_of(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    if group is None:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, 0o2770 if to_write else 0o750)
    finally:
        os.close(descriptor)
