"""Whether mounted file systems are sound, without waiting for a disk, which may hang.

After an error, ext4 goes read-only (``errors=remount-ro``) and counts the error in its superblock.
XFS shuts down, and then refuses to open even its root directory.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from .mounts import unescape
from .system import SYS, read

SOUND, ERRORS, READ_ONLY, SHUT_DOWN = "sound", "errors", "read_only", "shut_down"
READ_ONLY_OPTIONS = {"ro", "emergency_ro"}
"""What the kernel shows of a file system that went read-only; newer ones show the second."""


def states() -> dict[str, str]:
    """``{mount point: state}`` of all mounted ext4 and XFS file systems."""
    found = {}
    for line in read(Path("/proc/self/mountinfo")).splitlines():
        mount, _, file_system = line.partition(" - ")
        kind, device, options = file_system.split(" ")[:3]
        if kind in ("ext4", "xfs"):
            path = unescape(mount.split(" ")[4])
            found[path] = state(path, unescape(device), set(options.split(",")))
    return found


def state(path: str, device: str, options: set[str]) -> str:
    """The state of one mounted file system."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    except OSError as error:
        if error.errno == errno.EIO:
            return SHUT_DOWN
    if options & READ_ONLY_OPTIONS:
        return READ_ONLY
    name = Path(device).resolve().name
    errors = read(SYS / "fs/ext4" / name / "errors_count").strip()
    return ERRORS if errors not in ("", "0") else SOUND
