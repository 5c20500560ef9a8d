"""Clients of an instance that this one replaces: they are told that their server is back."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import time
import types
from importlib.machinery import SourceFileLoader
from pathlib import Path

from .records import Json
from .state import CONNECTIONS
from .system import ANY_STATUS, ROOT, SYS, Deadline, read, run

TICKLE = ROOT / "usr/lib/atoll/atoll-tickle"
ADDRESS_SECONDS = 20.0
"""How long DHCP may take in an instance on a busy host."""
SIOCGIFADDR, IPV6_GLOBAL = 0x8915, "00"


def notify_clients(args: Json, fence: int, deadline: Deadline) -> Json:
    """Wake clients that wait in TCP's back-off, and tell those with locks of NFS 3 to reclaim.

    Neither is waited for, because both repeat each message for some time.
    """
    _await_addresses(deadline)
    _wake_clients()
    run(["systemctl", "start", "--no-block", "atoll-tickle.service"], deadline, ok=ANY_STATUS)
    run(["sm-notify", "-f"], deadline, ok=ANY_STATUS)
    return {}


def _wake_clients() -> None:
    """Send what the image's program will repeat, before it has started.

    An older image has no such program.
    """
    program = types.ModuleType("tickle")
    with contextlib.suppress(OSError, ValueError):
        lines = CONNECTIONS.with_suffix(".lost").read_text().splitlines()
        SourceFileLoader(program.__name__, str(TICKLE)).exec_module(program)
        for line in lines:
            program.sent(program.parse(line))


def _await_addresses(deadline: Deadline) -> None:
    """Wait until each interface has an address; the one for clients was plugged in just now.

    Without it sm-notify can send nothing, and its pauses double. The grace period might be over
    before it tries again, and the locks of NFS 3 lost.
    """
    end = time.monotonic() + ADDRESS_SECONDS
    interfaces = {path.parent.name for path in (SYS / "class/net").glob("*/device")}
    while time.monotonic() < end:
        if all(_has_address(name) for name in interfaces):
            return
        deadline.left()
        time.sleep(0.1)


def _has_address(interface: str) -> bool:
    """Whether clients can reach the interface, by IPv4 or IPv6.

    The kernel is asked directly: programs that ask it take CPU time from what is waited for.
    """
    for line in read(Path("/proc/net/if_inet6")).splitlines():
        _, _, _, scope, _, name = line.split()
        if (scope, name) == (IPV6_GLOBAL, interface):
            return True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, SIOCGIFADDR, interface.encode()[:15].ljust(40, b"\0"))
        except OSError:
            return False
    return True
