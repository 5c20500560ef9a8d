"""QEMU's processes on this machine, also those that libvirt has forgotten."""

from __future__ import annotations

from pathlib import Path

PROCESSES = Path("/proc")


def qemu_of(instance_id: str, processes: Path = PROCESSES) -> int | None:
    """Id of the QEMU process that runs an instance, or None. libvirt starts it with ``-uuid``."""
    for directory in processes.iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended
        if b"qemu" in words[0] and instance_id.encode() in words:
            return int(directory.name)
    return None
