"""Connections to libvirt, reopened when the daemon was restarted, and libvirt's errors."""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import libvirt

from atoll.cloud.local.daemon import Daemon
from atoll.errors import CloudError, CloudNotFound, CloudUnavailable, OutOfCapacity

_GONE = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_NETWORK}
_LATER = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,
    libvirt.VIR_ERR_OPERATION_INVALID,  # another caller has stopped it meanwhile
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
}
ASK_SECONDS = 1.0
_LATER_WORDS = ("from monitor", "from qemu monitor", "no longer running", '"write" lock')
"""QEMU has ended meanwhile, or another QEMU is merging layers that this one needs, too."""
_LATER_DOMAINS = {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE}

# Errors are raised as exceptions. By default, libvirt also prints each to standard error.
libvirt.registerErrorHandler(lambda _context, _error: None, None)


@dataclass(frozen=True, slots=True)
class QemuUser:
    """The user and group that QEMU runs as, which must own its files."""

    uid: int
    gid: int


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn libvirt's errors into Atoll's, with libvirt's words."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise as_cloud_error(what, error) from error


def as_cloud_error(what: str, error: libvirt.libvirtError) -> CloudError:
    """Atoll's error for one of libvirt's."""
    code, words = error.get_error_code(), error.get_error_message() or str(error)
    message = f"{what}: {words}"
    if code in _GONE:
        return CloudNotFound(message)
    if "No space left on device" in words or "Cannot allocate memory" in words:
        return OutOfCapacity(message)
    later = any(sign in words for sign in _LATER_WORDS)
    if later or code in _LATER or error.get_error_domain() in _LATER_DOMAINS:
        return CloudUnavailable(message)
    return CloudError(message)


class _Opened(threading.local):
    """A thread's connection, which is closed when the thread ends."""

    handle: libvirt.virConnect | None = None
    asked_at = 0.0


class Connection:
    """libvirt for many threads, each with a connection of its own.

    Threads that share one take turns in reading its socket, and libvirt before 10.1 may not wake up
    the next thread ("rpc: fix race in waking up client event loop"). A call then waits until the
    one before it ends, which may be an attachment to a QEMU that hangs.
    """

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._opened = _Opened()
        self._user: QemuUser | None = None

    def __call__(self) -> libvirt.virConnect:
        """This thread's connection, opened if need be. Raises ``CloudUnavailable``."""
        opened = self._opened
        if opened.handle is None or not self._is_alive(opened, opened.handle):
            opened.handle = None
            opened.handle = self._open()
        return opened.handle

    def _is_alive(self, opened: _Opened, handle: libvirt.virConnect) -> bool:
        """Ask the daemon now and then, because the socket doesn't show that it was restarted."""
        now = time.monotonic()
        if now - opened.asked_at < ASK_SECONDS:
            return bool(handle.isAlive())
        opened.asked_at = now
        try:
            return bool(handle.getLibVersion())
        except libvirt.libvirtError:
            return False

    def _open(self) -> libvirt.virConnect:
        with translated("libvirt does not answer"):
            return libvirt.open(self.daemon.uri())

    def qemu_user(self) -> QemuUser:
        """The user and group that the daemon runs QEMU as, as it says itself."""
        if self._user is None:
            with translated("libvirt's capabilities"):
                capabilities = ET.fromstring(self().getCapabilities())  # noqa: S314
            label = capabilities.findtext("./host/secmodel[model='dac']/baselabel[@type='kvm']", "")
            uid, _, gid = label.replace("+", "").partition(":")
            self._user = QemuUser(int(uid or 0), int(gid or 0))
        return self._user

    def close(self) -> None:
        """Close all connections. The next call opens one again."""
        self._opened = _Opened()
