"""The state of the NFS server, on a volume that outlives the instance.

Clients reclaim their opens and locks only from a server that knows them. nfsdcld records the
clients of NFS 4, and statd the hosts that hold locks of NFS 3. Both keep their records on this
volume, and the NFS server does not start until it is mounted, because a server without the records
would grant the same lock to others.
"""

from __future__ import annotations

import contextlib
import os

from . import devices, filesystems, mounts
from .records import FSID, HOSTNAME, SERIAL, Json, check
from .system import (
    ANY_STATUS,
    NFSD,
    ROOT,
    RUN,
    AgentError,
    Deadline,
    locked,
    read,
    remove,
    run,
    tell,
    write,
)

NAME = "nfs-state"
PLACE = ROOT / "var/lib" / NAME
CONNECTIONS = PLACE / "connections"
"""The connections of the NFS server's clients. The image's ``atoll-nfsd`` writes it."""
STATD_PACKAGED = ROOT / "var/lib/nfs/sm"
"""The folder that the package made for statd, which drops its privileges to the folder's owner."""
HOSTNAME_FILE = ROOT / "etc/hostname"
STATEFUL = ("nfsdcld.service", "rpc-statd.service")
"""The services that have files open on the volume."""
PAUSED = RUN / "nfs.paused"
"""This file exists while nfsd has no threads although nfs-server.service is active.

``atoll-nfsd``, where the image has it, leaves it so. To start that service takes several times as
long, because mountd, idmapd and others start with it.
"""
WATCHER = ROOT / "usr/lib/atoll/atoll-nfsd"
WITHOUT = ROOT / "etc/nfs-without-state"
"""With this file the service image starts the NFS server without a volume for its state."""
SETTINGS = ROOT / "etc/nfs.conf.d/atoll-state.conf"
SETTINGS_TEXT = f"""\
[nfsdcld]
storagedir=/var/lib/{NAME}/nfsdcld

[statd]
state-directory-path=/var/lib/{NAME}/statd
"""


def keep_state(args: Json, fence: int, deadline: Deadline) -> Json:
    """Mount the volume for the NFS server, now and at each boot.

    A server that ran without it, or with another volume, is stopped. Raises ``AgentError`` if the
    volume holds something else.
    """
    check(args, {"serial": SERIAL, "fsid": FSID, "hostname": HOSTNAME})
    serial, fsid = args["serial"], args["fsid"].lower()
    with locked(NAME, deadline) as lock:
        is_stopped = not devices.disks(serial)
        if is_stopped:  # the disk is still being attached, which takes as long as this
            _stop(deadline)
        device = devices.find(serial, deadline)
        mounted = mounts.table().get(str(PLACE))
        if mounted is None or mounted[0] != devices.numbers(device):
            if not is_stopped:
                _stop(deadline)
            while str(PLACE) in mounts.table():
                run(["umount", str(PLACE)], deadline)
            _rename(args["hostname"])
            if not mounts.mount_sound(device, str(PLACE), fsid, deadline):
                _prepare(device, fsid, bool(args.get("may_format")), deadline, lock)
                mounts.mount("ext4", device, str(PLACE))
        _make_folders()
        if filesystems.is_unfinished("ext4", device, str(PLACE), deadline):
            filesystems.mark_finished("ext4", device, str(PLACE), deadline)
        write(SETTINGS, SETTINGS_TEXT)
        mounts.keep("ext4", NAME, str(PLACE), fsid)
    return {}


def start_nfs(args: Json, fence: int, deadline: Deadline) -> Json:
    """Start the NFS server if it does not run. Its grace period begins now."""
    if not args.get("with_state", True):
        write(WITHOUT, "This server keeps its state on the root disk.\n")
    if is_running():
        remove(PAUSED)
        return {}
    with contextlib.suppress(FileNotFoundError):
        # Before the first clients come back, and the list is written anew.
        CONNECTIONS.rename(CONNECTIONS.with_suffix(".lost"))
    if PAUSED.exists():
        run(["systemctl", "start", *STATEFUL], deadline)
        run(["rpc.nfsd"], deadline)
        remove(PAUSED)
    else:
        run(["systemctl", "start", "nfs-server.service"], deadline)
    if not is_running():
        raise AgentError("failed", "The NFS server was started, but has no threads.")
    return {}


def is_running() -> bool:
    """Whether the NFS server has threads."""
    return read(NFSD / "threads").strip() not in ("", "0")


def _stop(deadline: Deadline) -> None:
    """Stop the NFS server and all that has files open on the volume."""
    if (is_running() or PAUSED.exists()) and PAUSED.name in read(WATCHER):
        PAUSED.touch()  # first, because the watcher would start the service again
        tell(NFSD / "threads", "0")
        run(["systemctl", "stop", *STATEFUL], deadline)
    else:
        run(["systemctl", "stop", "nfs-server.service", *STATEFUL], deadline)


def _rename(hostname: str) -> None:
    """Set the host name, which the servers read when they start.

    Clients of NFS 4.1 reclaim only from a server with the same name (its scope), and hosts with
    locks of NFS 3 are notified in its name. An instance that was made for another share server has
    another name.
    """
    if hostname and hostname != read(HOSTNAME_FILE).strip():
        write(ROOT / "etc/hosts", f"127.0.0.1 localhost {hostname}\n::1 localhost\n")
        (ROOT / "proc/sys/kernel/hostname").write_text(hostname)
        write(HOSTNAME_FILE, hostname + "\n")


def _prepare(device: str, fsid: str, may_format: bool, deadline: Deadline, lock: int) -> None:
    action = filesystems.plan(filesystems.probe(device, deadline), fsid, may_format)
    if action in ("make", "remake"):
        filesystems.make("ext4", device, fsid, action == "remake", deadline, lock)
    elif action == "adopt":
        raise AgentError("device_not_blank", "The volume holds the state of another server.")
    else:
        # The state is worth less than the time without a server, so any repair is accepted.
        status, _ = run(["e2fsck", "-p", device], deadline, ok=ANY_STATUS, keep=lock)
        if status not in (0, 1):
            run(["e2fsck", "-f", "-y", device], deadline, ok=(0, 1, 2), keep=lock)


def _make_folders() -> None:
    """Make the servers' folders, each with the owner that its server needs."""
    (PLACE / "nfsdcld").mkdir(mode=0o700, exist_ok=True)
    try:
        owner = STATD_PACKAGED.stat()
    except FileNotFoundError:
        return  # there is no statd
    for folder in (PLACE / "statd", PLACE / "statd/sm", PLACE / "statd/sm.bak"):
        folder.mkdir(mode=0o755, exist_ok=True)
        os.chown(folder, owner.st_uid, owner.st_gid)
