"""Mounts shares: now by ``mount``, and at each boot by a systemd service that needs no agent.

There are no mount units, because systemd unmounts them when it believes that the device is gone.
That happens whenever udev is late, or reads a superblock while the kernel writes it. systemd does
not unmount what another program has mounted.

Units are only written, not started or reloaded: systemd reads a new unit when it first needs it,
and a ``systemctl`` call takes longer than the rest of a verb.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import time
from pathlib import Path

from . import filesystems, freezing
from .system import NFSD, ROOT, AgentError, Deadline, link, read, remove, run, tell, write

UNITS = ROOT / "etc/systemd/system"
GENERATORS = ROOT / "etc/systemd/system-generators"
TARGET = "atoll-shares.target"
TARGET_TEXT = """\
[Unit]
Description=Shares of this service instance
Before=nfs-server.service smbd.service

[Install]
WantedBy=multi-user.target
"""
SERVICE_TEXT = """\
[Unit]
Description=Share {share_id}
Wants={device}
After={device}
ConditionPathExists={disk}
Before={target} nfs-server.service smbd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount -t {kind} -o {options} {disk} {path}

[Install]
WantedBy={target}
"""
ORDER_TEXT = "[Unit]\nBefore=nfs-server.service smbd.service\n"
"""For the unit that systemd derives from a mount: at shutdown, the servers stop first."""
# A lost volume delays the servers for this time. It starts when the basic system is up, because on
# a busy host instances may take longer than that to find their disks.
DEVICE_TEXT = "[Unit]\nAfter=sysinit.target\nJobRunningTimeoutSec=20s\n"
OPTIONS = {
    "ext4": "noatime,nodev,nosuid,errors=remount-ro",
    "xfs": "noatime,nodev,nosuid",
}
FLAGS = {"noatime": 1024, "nodev": 4, "nosuid": 2}
"""Options that are flags of mount(2); the others are passed to the file system."""


def table() -> dict[str, tuple[str, str]]:
    """``{mount point: (major:minor, file system)}``; the topmost of stacked mounts."""
    found = {}
    for line in read(Path("/proc/self/mountinfo")).splitlines():
        fields = line.split(" ")
        found[unescape(fields[4])] = (fields[2], fields[fields.index("-") + 1])
    return found


def unescape(text: str) -> str:
    r"""Decode octal escapes, such as ``\040`` for a blank, of the kernel and the NFS server."""
    if "\\" not in text:
        return text
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def unit_name(path: str, suffix: str) -> str:
    """The systemd unit of a path, as ``systemd-escape --path`` prints it."""
    text = "-".join(
        "".join(
            chr(byte) if re.match(r"[A-Za-z0-9:_.]", chr(byte)) else f"\\x{byte:02x}"
            for byte in part.encode()
        )
        for part in path.strip("/").split("/")
    )
    return (f"\\x2e{text[1:]}" if text.startswith(".") else text) + suffix


def keep(kind: str, share_id: str, path: str, fsid: str) -> bool:
    """Make a service that mounts the share at each boot, before the servers start.

    The servers also start if the mount fails. Returns True if a mount unit of an older agent was
    removed, so that systemd must reload its units.
    """
    if not (UNITS / TARGET).exists():  # Atoll's service image has it
        write(UNITS / TARGET, TARGET_TEXT)
    link(UNITS / "multi-user.target.wants" / TARGET, f"../{TARGET}")
    # This generator makes the NFS server require all mounts, so one lost volume would stop it.
    link(GENERATORS / "nfs-server-generator", "/dev/null")
    disk, unit = f"/dev/disk/by-uuid/{fsid}", service_name(share_id)
    device = unit_name(disk, ".device")
    values = {"share_id": share_id, "target": TARGET, "disk": disk, "path": path, "kind": kind}
    write(UNITS / unit, SERVICE_TEXT.format(options=OPTIONS[kind], device=device, **values))
    write(UNITS / f"{device}.d" / "timeout.conf", DEVICE_TEXT)
    write(UNITS / unit_name(path, ".mount.d") / "order.conf", ORDER_TEXT)
    link(UNITS / f"{TARGET}.wants" / unit, f"../{unit}")
    return remove_mount_unit(path)


def forget(share_id: str, path: str, fsid: str) -> None:
    """Undo ``keep``."""
    remove(UNITS / f"{TARGET}.wants" / service_name(share_id))
    remove(UNITS / service_name(share_id))
    remove_mount_unit(path)
    for file in (
        UNITS / unit_name(path, ".mount.d") / "order.conf",
        UNITS / unit_name(f"/dev/disk/by-uuid/{fsid}", ".device.d") / "timeout.conf",
    ):
        with contextlib.suppress(OSError):
            file.unlink()
            file.parent.rmdir()


def service_name(share_id: str) -> str:
    """The systemd service that mounts a share at boot."""
    return f"atoll-share-{share_id}.service"


def has_mount_unit(path: str) -> bool:
    """Whether the path has a mount unit, which older agents wrote instead of the service."""
    return (UNITS / unit_name(path, ".mount")).exists()


def remove_mount_unit(path: str) -> bool:
    """Remove the mount unit of an older agent; return whether there was one."""
    unit, was_there = unit_name(path, ".mount"), has_mount_unit(path)
    remove(UNITS / f"{TARGET}.wants" / unit)
    remove(UNITS / unit)
    return was_there


def mount(kind: str, device: str, path: str) -> None:
    """Mount a share on its directory, which must be empty.

    It uses the system call, because an emulated instance would need longer to start a program.
    """
    place = Path(path)
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()):
        raise AgentError("failed", f"{path} is not empty, so nothing is mounted over it.")
    options = OPTIONS[kind].split(",")
    flags = sum(FLAGS[option] for option in options if option in FLAGS)
    data = ",".join(option for option in options if option not in FLAGS)
    texts = [text.encode() for text in (device, path, kind)]
    if ctypes.CDLL(None, use_errno=True).mount(*texts, ctypes.c_ulong(flags), data.encode()):
        words = os.strerror(ctypes.get_errno())
        raise AgentError("failed", f"{device} can't be mounted on {path}: {words}.")


def mount_sound(device: str, path: str, fsid: str, deadline: Deadline) -> str:
    """Mount the file system ``fsid`` if it has no errors; return its kind, or nothing if it has.

    A check before would start programs, which takes an emulated instance most of the time until a
    share is served again. Where this fails, the check says why, or repairs it.
    """
    kind = filesystems.kind_if_sound(device, fsid)
    if not kind:
        return ""
    try:
        mount(kind, device, path)
    except AgentError:
        return ""
    if filesystems.kind_if_sound(device, fsid):
        return kind
    run(["umount", path], deadline)  # the journal had an error on record
    return ""


def unmount(path: str, deadline: Deadline) -> bool:
    """Unmount a share that is no longer exported; True if it could only be detached lazily."""
    expired = False
    patience = min(deadline.end - 2, time.monotonic() + 8)
    while path in table():
        freezing.thaw_any(path)
        tell(NFSD / "unlock_filesystem", path)
        status, _ = run(["umount", path], deadline, ok=(0, 1, 32))
        if status == 0:
            continue  # there may be another mount below it
        if not expired:
            expire_clients(path)
            expired = True
        elif time.monotonic() > patience:
            run(["umount", "--lazy", path], deadline)
            return True
        else:
            time.sleep(0.2)
    return False


def expire_clients(path: str) -> None:
    """Expire the NFSv4 clients that have files of ``path`` open.

    Kernels before 6.9 need this, because their ``unlock_filesystem`` does not drop NFSv4 state.
    Such a client reopens its files of other shares, but loses its locks there.
    """
    number = Path(path).stat().st_dev
    mark = f'superblock: "{os.major(number):02x}:{os.minor(number):02x}:'
    for states in NFSD.glob("clients/*/states"):
        if mark in read(states):
            tell(states.with_name("ctl"), "expire\n")
