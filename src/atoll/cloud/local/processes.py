"""QEMU's processes on this machine, also those that libvirt has forgotten."""

from __future__ import annotations

from pathlib import Path


def qemu_of(instance_id: str) -> int | None:
    """Id of the process that runs an instance, or None. libvirt starts it with ``-uuid``."""
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended
        if b"-uuid" in words and instance_id.encode() in words:
            return int(directory.name)
    return None
