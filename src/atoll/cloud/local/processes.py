"""QEMU's processes on this machine, also those that libvirt has forgotten."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

FROZEN = "T"
"""The state of a process that was stopped by a signal, as in ``/proc/<id>/stat``."""


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


def kill_if_frozen(instance_id: str) -> None:
    """Kill an instance's process if it is stopped by a signal, such as by a debugger.

    libvirt would ask such a process to end, and kill it only ten seconds later.
    """
    process = qemu_of(instance_id)
    with contextlib.suppress(OSError):  # it has just ended
        if process is not None and _state(process) == FROZEN:
            os.kill(process, signal.SIGKILL)


def _state(process: int) -> str:
    stat = Path(f"/proc/{process}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]
