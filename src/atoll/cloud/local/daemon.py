"""The libvirt daemon that Atoll uses: the machine's if one runs, otherwise Atoll's own.

Atoll's own needs neither systemd nor D-Bus. Its configuration, sockets, state, logs and pid files
are all in one directory (see ``launch.py``). Which of the two is used is decided once for a state
directory, because a volume could be attached twice if each had some of the instances.
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

# Without systemd and D-Bus, QEMU can't be placed in control groups. A private /dev for each QEMU is
# impossible if /dev/kvm is hidden (see ``launch.py``).
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
    """Finds or starts the daemon. Many processes may do this at the same time."""

    def __init__(self, directory: Path, uri: str, acceleration: Callable[[], Acceleration]) -> None:
        self.directory = directory
        self._configured = uri
        self._acceleration = acceleration

    def uri(self) -> str:
        """The URI to connect to. Starts Atoll's own daemon if that is used and does not run.

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
        """Whether the daemon in use is Atoll's own."""
        choice = self.directory / "choice"
        return not self._configured and choice.exists() and choice.read_text() == OWN

    @property
    def running(self) -> bool:
        """Whether Atoll's own daemon runs."""
        return any(self._pid(name) for name in ("libvirtd", "virtlogd"))

    def stop(self) -> None:
        """End Atoll's own daemon, if there is one. Instances keep running."""
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
                    "Atoll's libvirt daemon does not answer.", hint=f"See {self._log}."
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
            # Without the x bit for others QEMU, which runs as another user, can't reach its files
            # there.
            (self.directory / name).mkdir(exist_ok=True, mode=0o755)
        etc = self.directory / "etc"
        (etc / "qemu.conf").write_text(QEMU_CONF)
        (etc / "virtlogd.conf").write_text(VIRTLOGD_CONF)
        (etc / "libvirtd.conf").write_text(
            LIBVIRTD_CONF.format(sockets=self._sockets, log=self._log)
        )

    def _forget_other_boot(self) -> None:
        """The files in ``run`` describe processes and must not outlive a boot of the machine."""
        marker = self.directory / "boot"
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        if not marker.exists() or marker.read_text() != boot:
            shutil.rmtree(self.directory / "run", ignore_errors=True)
            marker.write_text(boot)

    def _launch(self, name: str) -> None:
        module = [sys.executable, "-m", "atoll.cloud.local.launch", str(self.directory), name]
        module.append(self._acceleration())
        # With "slave", later mounts on the host are seen inside, and those made inside are not seen
        # outside.
        run(["unshare", "--mount", "--propagation", "slave", "--", *module], seconds=START_SECONDS)

    def _pid(self, name: str) -> int | None:
        """Id of the daemon's process, if it runs and belongs to this directory."""
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
    """Whether the machine has a libvirt daemon that Atoll may connect to."""
    return _answers(MACHINE)


def _answers(uri: str) -> bool:
    try:
        libvirt.open(uri).close()
    except libvirt.libvirtError:
        return False
    return True
