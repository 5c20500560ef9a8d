"""Prevents clients from listing all shares on an instance that several projects use.

mountd tells every client which shares exist and which clients they admit, and that can't be
restricted. Only NFS 3 clients need it. Without NFS 3, mountd does not listen to the network, but
still answers the kernel.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from . import caches
from .system import ROOT, AgentError, Deadline, locked, read, run, write

CONFIGURATION = ROOT / "etc/nfs.conf.d/atoll.conf"
TEXT = """\
# Written by Atoll. Several projects have shares here, and mountd would list them to all clients.
[nfsd]
vers2=n
vers3=n
"""
TABLES = ("tcp", "tcp6", "udp", "udp6")
UNIT = "nfs-mountd.service"


def hide(deadline: Deadline) -> None:
    """Stop mountd from listening to the network, now and after each boot.

    Only mountd is restarted, which is quick; the NFS server continues to serve its clients. Raises
    ``AgentError`` (failed) if mountd still listens.
    """
    write(CONFIGURATION, TEXT)
    if caches.daemons() and not listeners():
        return
    with locked("listings", deadline):
        for daemon in listeners():
            # A "restart" would also restart nfs-server.service, which requires mountd's unit.
            run(["systemctl", "kill", UNIT], deadline)
            while caches.name_of(daemon):
                deadline.left()
                time.sleep(0.01)
        # This is also needed if an earlier agent was interrupted before it started mountd.
        run(["systemctl", "start", UNIT], deadline)
        if listeners():
            raise AgentError(
                "failed",
                "rpc.mountd listens to the network and would list all shares to any client. "
                "Set vers3=n in the section nfsd of /etc/nfs.conf.",
            )


def listeners() -> list[Path]:
    """The daemons that listen to the network."""
    return [daemon for daemon in caches.daemons() if listens(daemon)]


def listens(process: Path) -> bool:
    """Whether a process has a TCP or UDP socket."""
    sockets = set()
    with contextlib.suppress(OSError):
        for handle in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(str(handle.readlink()))
    lines = (line for table in TABLES for line in read(process / "net" / table).splitlines()[1:])
    return any(f"socket:[{line.split()[9]}]" in sockets for line in lines)
