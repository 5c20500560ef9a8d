"""What anybody may ask: on an instance of several projects, nobody can list the shares.

mountd tells every client which shares there are and whom they let in, and nothing of it can be
limited to those who may. Only NFS 3 needs it: clients of NFS 4 never talk to mountd, and without
NFS 3 it does not listen to the network. It goes on answering the kernel.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from . import caches
from .system import ROOT, AgentError, Deadline, locked, read, run, write

CONFIGURATION = ROOT / "etc/nfs.conf.d/atoll.conf"
TEXT = """\
# Atoll wrote this. Several projects have shares here, and mountd would list them all to anybody.
[nfsd]
vers2=n
vers3=n
"""
TABLES = ("tcp", "tcp6", "udp", "udp6")
UNIT = "nfs-mountd.service"


def hide(deadline: Deadline) -> None:
    """Have mountd not listen to the network, now and after every boot.

    Only mountd is started anew, in an instant: the NFS server goes on serving who is connected.
    Raises ``AgentError`` (failed) where mountd listens all the same.
    """
    write(CONFIGURATION, TEXT)
    if caches.daemons() and not listeners():
        return
    with locked("listings", deadline):
        for daemon in listeners():
            # Not "restart": nfs-server.service requires mountd's unit, and would restart, too.
            run(["systemctl", "kill", UNIT], deadline)
            while caches.name_of(daemon):
                deadline.left()
                time.sleep(0.01)
        run(["systemctl", "start", UNIT], deadline)  # also where an agent was cut short before it
        if listeners():
            raise AgentError(
                "failed",
                "rpc.mountd listens to the network and would list all shares to anybody. "
                "Set vers3=n in the section nfsd of /etc/nfs.conf.",
            )


def listeners() -> list[Path]:
    """The daemons that can be asked through the network."""
    return [daemon for daemon in caches.daemons() if listens(daemon)]


def listens(process: Path) -> bool:
    """Whether a process has a socket of the internet protocols."""
    sockets = set()
    with contextlib.suppress(OSError):
        for handle in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(str(handle.readlink()))
    lines = (line for table in TABLES for line in read(process / "net" / table).splitlines()[1:])
    return any(f"socket:[{line.split()[9]}]" in sockets for line in lines)
