"""Makes, repairs and grows file systems, and gives clones their own UUID.

Data is never destroyed. A file system is made only on a device without any signature, with the
share's UUID and the label ``ATOLL-NEW``. The label is removed once the new file system has been
mounted and set up, which is synced to disk before the first export. So a file system with this UUID
and this label was never used, and may be made again after an interruption. Any other file system is
left as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import devices, superblocks
from .system import ANY_STATUS, RUN, AgentError, Deadline, run

KINDS = ("ext4", "xfs")
MARKER = "ATOLL-NEW"
NOBODY = 65534
FS_IOC_GETFSLABEL, FS_IOC_SETFSLABEL = 0x81009431, 0x41009432
XFS_IOC_FSGEOMETRY_V1 = 0x80705864
SLACK = 16 * 1024 * 1024
"""Bytes at the end of a device that a file system may not be able to use."""


class Signature(NamedTuple):
    """A signature on a device, as libblkid reports it."""

    kind: str
    uuid: str
    label: str


def probe(device: str, deadline: Deadline) -> list[Signature]:
    """All signatures on the device, including damaged ones and partition tables."""
    _, words = run(["wipefs", "--no-act", "--parsable", device], deadline)
    return parse(words)


def parse(words: str) -> list[Signature]:
    """Parse the lines of ``wipefs --parsable``: offset,uuid,label,type."""
    found = []
    for line in words.splitlines():
        if not line.startswith("#"):
            _, uuid, rest = line.split(",", 2)
            label, _, kind = rest.rpartition(",")
            found.append(Signature(kind, uuid.lower(), label))
    return found


def plan(found: list[Signature], fsid: str, may_format: bool) -> str:
    """Decide what to do with a device that has the signatures ``found``.

    The result is make, remake, use or adopt.
    """
    if not found:
        if may_format:
            return "make"
        raise AgentError("device_not_blank", "The volume holds no file system.")
    kind, uuid, label = found[0]
    if len(found) > 1 or kind not in KINDS:
        kinds = ", ".join(sorted({signature.kind for signature in found}))
        raise AgentError("device_not_blank", f"The volume carries {kinds}.")
    if label == MARKER:
        if uuid == fsid and may_format:
            return "remake"
        raise AgentError("device_not_blank", "The volume's file system was never finished.")
    if uuid == fsid:
        return "use"
    if may_format:
        raise AgentError("device_not_blank", f"The volume already carries {kind}.")
    return "adopt"


def kind_if_sound(device: str, fsid: str) -> str:
    """The kind of the finished file system ``fsid`` without recorded errors; empty for all else.

    A journal that is not empty is no error, because the kernel replays it when it mounts.
    """
    found = superblocks.read(device)
    if found is None or found.kind not in KINDS or found.uuid != fsid:
        return ""
    return "" if found.label == MARKER or found.has_errors else found.kind


def make(kind: str, device: str, fsid: str, again: bool, deadline: Deadline, lock: int) -> None:
    """Make a file system, labelled as unfinished; ``again`` replaces an unfinished one."""
    # Blocks are not discarded: a new thin volume has none, and on other volumes it takes long.
    if kind == "ext4":
        # metadata_csum_seed lets a clone get its own UUID without rewriting every checksum.
        argv = ["mkfs.ext4", "-q", "-m", "0", "-U", fsid, "-L", MARKER, "-O", "metadata_csum_seed"]
        argv += ["-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"]
        argv += ["-F"] if again else []
    else:
        argv = ["mkfs.xfs", "-q", "-K", "-m", f"uuid={fsid}", "-L", MARKER]
        argv += ["-f"] if again else []
    run([*argv, device], deadline, keep=lock)


def is_unfinished(kind: str, device: str, path: str, deadline: Deadline) -> bool:
    """Whether a mounted file system is new and still has the label of unfinished ones."""
    with _opened(path) as handle:
        try:
            label = fcntl.ioctl(handle, FS_IOC_GETFSLABEL, bytes(256)).rstrip(b"\0").decode()
        except OSError:  # ext4 before Linux 5.17
            _, label = run(["e2label", device], deadline) if kind == "ext4" else (0, "")
    return label == MARKER


def finish(kind: str, device: str, path: str, squash: str, deadline: Deadline) -> None:
    """Set up the new root directory, remove the label, and sync both to disk.

    As in /tmp, everybody may create files, and the sticky bit protects the files of others. If the
    root user of clients is mapped to nobody, nobody owns the directory, so that the clients' root
    can still set the owner and mode that its users need.
    """
    owner = 0 if squash == "no_root_squash" else NOBODY
    root = Path(path)
    with contextlib.suppress(OSError):
        (root / "lost+found").rmdir()
    os.chown(root, owner, owner)
    root.chmod(0o1777)
    mark_finished(kind, device, path, deadline)


def mark_finished(kind: str, device: str, path: str, deadline: Deadline) -> None:
    """Remove the label of an unfinished file system, and sync all of it to disk."""
    with _opened(path) as handle:
        try:
            fcntl.ioctl(handle, FS_IOC_SETFSLABEL, bytes(256))
        except OSError:  # ext4 before Linux 5.17
            if kind != "ext4":
                raise
            run(["e2label", device, ""], deadline)
        if ctypes.CDLL(None).syncfs(handle) != 0:
            raise AgentError("failed", f"{path} can't be synced.")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def repair(device: str, deadline: Deadline, lock: int) -> None:
    """Replay an ext4 journal, and repair what e2fsck can repair safely."""
    status, words = run(["e2fsck", "-p", device], deadline, ok=ANY_STATUS, keep=lock, lengthy=True)
    if status not in (0, 1):
        raise AgentError("damaged", f"The file system needs e2fsck by hand: {words[-1000:]}")


def adopt(kind: str, device: str, share_id: str, fsid: str, deadline: Deadline, lock: int) -> None:
    """Give a clone its own UUID, after replaying its journal, as it may be a copy after a crash."""
    if kind == "xfs":
        place = replay_place(share_id)
        place.mkdir(parents=True, exist_ok=True)
        run(["mount", "-t", "xfs", "-o", "nouuid,nodev,nosuid", device, str(place)], deadline)
        run(["umount", str(place)], deadline)
        _, words = run(
            ["xfs_db", "-x", "-c", f"uuid {fsid}", device], deadline, keep=lock, lengthy=True
        )
        if fsid not in words:  # the exit status does not show a failure
            raise AgentError("failed", f"The clone's UUID can't be set: {words[-1000:]}")
        return
    status, _ = run(["e2fsck", "-p", device], deadline, ok=ANY_STATUS, keep=lock, lengthy=True)
    if status not in (0, 1):  # a forced repair of a copy is safe, as the original still exists
        run(["e2fsck", "-f", "-y", device], deadline, ok=(0, 1), keep=lock, lengthy=True)
    set_uuid = ["tune2fs", "-U", fsid, device]
    status, _ = run(set_uuid, deadline, ok=(0, 1), keep=lock, lengthy=True)
    if status:  # without metadata_csum_seed, tune2fs requires a full check first
        run(["e2fsck", "-f", "-y", device], deadline, ok=(0, 1), keep=lock, lengthy=True)
        run(set_uuid, deadline, keep=lock, lengthy=True)


def replay_place(share_id: str) -> Path:
    """Where an XFS clone is mounted briefly to replay its log."""
    return RUN / "replay" / share_id


def made_size(kind: str, device: str, path: str) -> int:
    """The size to which a mounted file system was made or grown, in bytes."""
    if kind == "xfs":
        with _opened(path) as handle:
            geometry = fcntl.ioctl(handle, XFS_IOC_FSGEOMETRY_V1, bytes(112))
        (block_size,) = struct.unpack_from("=I", geometry, 0)
        (blocks,) = struct.unpack_from("=Q", geometry, 32)
        return int(block_size * blocks)
    found = superblocks.read(device)
    if found is None:
        raise AgentError("failed", f"The superblock of {device} can't be read.")
    return found.size_bytes


def grow(kind: str, device: str, path: str, deadline: Deadline, lock: int) -> None:
    """Grow a mounted file system to its device's size."""
    if devices.size(device) - made_size(kind, device, path) < SLACK:
        return
    argv = ["xfs_growfs", path] if kind == "xfs" else ["resize2fs", device]
    run(argv, deadline, keep=lock, lengthy=True)


def space(path: str) -> tuple[int, int]:
    """Size and used bytes of a mounted file system, as shown by ``df``."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, (found.f_blocks - found.f_bfree) * found.f_frsize
