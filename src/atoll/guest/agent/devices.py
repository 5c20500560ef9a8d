"""Block devices, identified by their serials, because names such as sdb may change at each boot."""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path

from .system import ROOT, SYS, AgentError, Deadline, read, tell

PATIENCE = 30.0
"""Seconds to wait for a disk that has just been attached."""


def serial_of(name: str) -> str:
    """The kernel's serial of a whole disk, e.g. of ``sda``; empty if it has none."""
    disk = SYS / "block" / name
    try:
        return (disk / "device/vpd_pg80").read_bytes()[4:].decode("ascii", "replace").strip("\0 ")
    except OSError:
        return (read(disk / "serial") or read(disk / "device/serial")).strip()


def matches(found: str, serial: str, name: str) -> bool:
    """Whether a disk has the wanted serial, of which virtio-blk shows only 20 characters."""
    return found == serial or (name.startswith("vd") and found == serial[:20])


def attached() -> dict[str, str]:
    """Serials of all disks, by kernel name."""
    try:
        names = sorted(path.name for path in (SYS / "block").iterdir())
    except OSError:
        names = []
    return {name: serial_of(name) for name in names}


def disks(serial: str, among: dict[str, str] | None = None) -> list[str]:
    """Kernel names of the disks with this serial; ``among`` is a result of ``attached``."""
    all_disks = attached() if among is None else among
    found = [name for name, has in all_disks.items() if matches(has, serial, name)]
    if found:
        return found
    by_id = (ROOT / "dev/disk/by-id").glob(f"*{glob.escape(serial)}")
    return sorted({path.resolve().name for path in by_id})


def find(serial: str, deadline: Deadline) -> str:
    """Wait for the disk with this serial to be attached; return its path, e.g. ``/dev/sda``."""
    start = time.monotonic()
    give_up = min(deadline.end - 1, start + PATIENCE)
    rescan_at = start + 2
    while True:
        found = disks(serial)
        if len(found) > 1:
            raise AgentError("device_missing", f"Several disks have the serial {serial}: {found}.")
        if found:
            # The rescan updates size and serial; until then, a reused slot shows the former disk's.
            tell(SYS / "block" / found[0] / "device/rescan", "1")
            if disks(serial) == found:
                return f"/dev/{found[0]}"
        now = time.monotonic()
        if now >= give_up:
            raise AgentError("device_missing", f"No disk here has the serial {serial}.")
        if now >= rescan_at:  # the hot-plug event may have been lost
            for host in (SYS / "class/scsi_host").glob("*/scan"):
                tell(host, "- - -")
            rescan_at = now + 5
        time.sleep(0.05)


def size(device: str) -> int:
    """The size of a device in bytes."""
    with Path(device).open("rb") as file:
        return file.seek(0, os.SEEK_END)


def await_size(device: str, least: int, deadline: Deadline) -> None:
    """Wait until a device has ``least`` bytes, because an instance may see a new size late."""
    give_up = min(deadline.end - 1, time.monotonic() + PATIENCE)
    while (found := size(device)) < least:
        if time.monotonic() >= give_up:
            raise AgentError("deadline", f"{device} has only {found} of {least} bytes.")
        tell(SYS / "block" / Path(device).name / "device/rescan", "1")
        time.sleep(0.2)


def numbers(device: str) -> str:
    """A device's ``major:minor``."""
    number = Path(device).stat().st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def is_detached(number: str) -> bool:
    """Whether the disk of a mounted ``major:minor`` is not attached any more."""
    here = (Path("/dev") / name for name in attached())
    return number not in {numbers(str(device)) for device in here if device.exists()}
