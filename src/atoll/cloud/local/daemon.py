"""The libvirt daemon that serves us: the machine's where one runs, else one of our own.

Our own needs no systemd and no D-Bus; its configuration, sockets, state, logs and pid files are
all in one directory (``launch.py`` says how). Which of the two it is gets decided once for a state
directory: with half of the instances on either, a volume could be attached twice.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import libvirt

from atoll.cloud.local.acceleration import Acceleration
from atoll.cloud.local.launch import PLACES
from atoll.cloud.local.records import locked, write_file
from atoll.cloud.program import run
from atoll.errors import CloudUnavailable, ConfigurationError

MACHINE = "qemu:///system"
OWN = "own"
SOCKET_PATH_LIMIT = 107
START_SECONDS = 60.0

# Without systemd there is nobody to place QEMU in control groups for us, and no D-Bus to ask. A
# private /dev for each QEMU can't be had where /dev/kvm is hidden (``launch.py``).
QEMU_CONF = """\
security_driver = "none"
cgroup_controllers = [ ]
stdio_handler = "logd"
remember_owner = 0
namespaces = [ ]
"""
VIRTLOGD_CONF = "max_size = 262144\nmax_backups = 1\n"
LIBVIRTD_CONF = """\
unix_sock_dir = "{sockets}"
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
max_client_requests = 64
log_outputs = "3:file:{log}"
"""


class Daemon:
    """Finds or starts the daemon. Safe to use from many processes."""

    def __init__(self, directory: Path, uri: str, acceleration: Callable[[], Acceleration]) -> None:
        self.directory = directory
        self._configured = uri
        self._acceleration = acceleration

    def uri(self) -> str:
        """Where to connect; starts our own daemon if that is the one and it does not run.

        Raises ``CloudUnavailable`` if it does not start.
        """
        if self._configured:
            return self._configured
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        with locked(self.directory):
            if self._choice() != OWN:
                return self._choice()
            self._start()
        return self._own_uri

    @property
    def is_own(self) -> bool:
        """Whether it is a daemon of ours."""
        choice = self.directory / "choice"
        return not self._configured and choice.exists() and choice.read_text() == OWN

    @property
    def running(self) -> bool:
        """Whether a daemon of our own runs (the machine's is not our business)."""
        return any(self._pid(name) for name in ("libvirtd", "virtlogd"))

    def stop(self) -> None:
        """End our own daemon, if any. Instances go on."""
        if not self.directory.exists():
            return
        with locked(self.directory):
            for name in ("libvirtd", "virtlogd"):
                self._end(name)

    @property
    def _own_uri(self) -> str:
        return f"{MACHINE}?socket={quote(str(self._sockets / 'libvirt-sock'))}"

    @property
    def _sockets(self) -> Path:
        return self.directory / "sockets"

    def _choice(self) -> str:
        choice = self.directory / "choice"
        if not choice.exists():
            chosen = MACHINE if machine_daemon_runs() else OWN
            write_file(choice, chosen.encode())
        return choice.read_text()

    def _start(self) -> None:
        if self._pid("libvirtd") and self._pid("virtlogd"):
            return
        if os.geteuid() != 0:
            raise ConfigurationError(
                "Only root can run virtual machines with networks of their own.",
                hint="Run Atoll as root, or start the machine's libvirt daemon.",
            )
        self._configure()
        for name in ("virtlogd", "libvirtd"):
            if self._pid(name) is None:
                self._launch(name)
        end = time.monotonic() + START_SECONDS
        while not _answers(self._own_uri):
            if time.monotonic() > end:
                raise CloudUnavailable(
                    "Our libvirt daemon does not answer.", hint=f"See {self._log}."
                )
            time.sleep(0.05)

    @property
    def _log(self) -> Path:
        return self.directory / "log" / "libvirtd.log"

    def _configure(self) -> None:
        if len(str(self._sockets / "libvirt-admin-sock")) > SOCKET_PATH_LIMIT:
            raise ConfigurationError(
                f"The state directory's path is too long for sockets: {self.directory}."
            )
        self._forget_other_boot()
        for name in (*PLACES, "sockets"):
            # Without the world's x bit QEMU, another user, can't reach its own files in there.
            (self.directory / name).mkdir(exist_ok=True, mode=0o755)
        etc = self.directory / "etc"
        (etc / "qemu.conf").write_text(QEMU_CONF)
        (etc / "virtlogd.conf").write_text(VIRTLOGD_CONF)
        (etc / "libvirtd.conf").write_text(
            LIBVIRTD_CONF.format(sockets=self._sockets, log=self._log)
        )

    def _forget_other_boot(self) -> None:
        """What is in ``run`` tells of processes and must not outlive a boot of the machine."""
        marker = self.directory / "boot"
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        if not marker.exists() or marker.read_text() != boot:
            shutil.rmtree(self.directory / "run", ignore_errors=True)
            marker.write_text(boot)

    def _launch(self, name: str) -> None:
        module = [sys.executable, "-m", "atoll.cloud.local.launch", str(self.directory), name]
        module.append(self._acceleration())
        # "slave": mounts made on the host later are seen inside, ours are not seen outside.
        run(["unshare", "--mount", "--propagation", "slave", "--", *module], seconds=START_SECONDS)

    def _pid(self, name: str) -> int | None:
        """Its process, if it runs and is the one of this directory."""
        try:
            pid = int((self.directory / f"{name}.pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self.directory / f"{name}.pid").encode() in words else None

    def _end(self, name: str) -> None:
        pid = self._pid(name)
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 10
        while self._pid(name) is not None:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        (self.directory / f"{name}.pid").unlink(missing_ok=True)


def machine_daemon_runs() -> bool:
    """Whether the machine has a libvirt daemon that we may talk to."""
    return _answers(MACHINE)


def _answers(uri: str) -> bool:
    try:
        libvirt.open(uri).close()
    except libvirt.libvirtError:
        return False
    return True
