"""One connection to libvirt, opened anew when the daemon was restarted; its errors become ours."""

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
    libvirt.VIR_ERR_OPERATION_INVALID,  # stopped by somebody else, meanwhile
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
}
ASK_SECONDS = 1.0
_LATER_WORDS = ("from monitor", "from qemu monitor", "no longer running", '"write" lock')
"""QEMU ended meanwhile; or another one is just merging layers that this one needs too."""
_LATER_DOMAINS = {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE}

# Errors come as exceptions; libvirt would also print each to standard error.
libvirt.registerErrorHandler(lambda _context, _error: None, None)


@dataclass(frozen=True, slots=True)
class QemuUser:
    """Whom QEMU runs as: its files must be theirs."""

    uid: int
    gid: int


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn libvirt's errors into ours, with libvirt's words."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise as_cloud_error(what, error) from error


def as_cloud_error(what: str, error: libvirt.libvirtError) -> CloudError:
    """The error of ours that says what libvirt's means for the caller."""
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


class Connection:
    """libvirt, for many threads."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._lock = threading.Lock()
        self._handle: libvirt.virConnect | None = None
        self._asked_at = 0.0
        self._user: QemuUser | None = None

    def __call__(self) -> libvirt.virConnect:
        """The open connection. Raises ``CloudUnavailable``."""
        with self._lock:
            if self._handle is None or not self._is_alive(self._handle):
                self._handle = self._open()
            return self._handle

    def _is_alive(self, handle: libvirt.virConnect) -> bool:
        """Ask the daemon, once in a while; the socket alone does not tell that it was restarted."""
        now = time.monotonic()
        if now - self._asked_at < ASK_SECONDS:
            return bool(handle.isAlive())
        self._asked_at = now
        try:
            return bool(handle.getLibVersion())
        except libvirt.libvirtError:
            return False

    def _open(self) -> libvirt.virConnect:
        with translated("libvirt does not answer"):
            return libvirt.open(self.daemon.uri())

    def qemu_user(self) -> QemuUser:
        """Whom QEMU runs as, by the daemon's own word."""
        if self._user is None:
            with translated("libvirt's capabilities"):
                capabilities = ET.fromstring(self().getCapabilities())  # noqa: S314
            label = capabilities.findtext("./host/secmodel[model='dac']/baselabel[@type='kvm']", "")
            uid, _, gid = label.replace("+", "").partition(":")
            self._user = QemuUser(int(uid or 0), int(gid or 0))
        return self._user

    def close(self) -> None:
        """Let go of it; the next call opens it again."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None
