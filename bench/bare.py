"""A bare boot of the service image, up to SSH, for comparison."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import psutil

from atoll.cloud.local.acceleration import acceleration
from harness.client_vm import ClientVm
from harness.machine import BOOT_SECONDS, CommandFailed, Machine


class BareVm(ClientVm):
    """The demo's client without an interface in a share network."""

    def __init__(self, directory: Path, image: Path) -> None:
        super().__init__(directory, image, bridge="", name="bare")

    def _plug_in(self) -> None:
        """Do nothing, because there is no network."""

    def _share_interface(self) -> list[str]:
        return []

    def boot(self) -> tuple[float, float]:
        """Boot it and end it; return seconds, and CPU seconds of QEMU, until the first login."""
        acceleration(self.accelerations)  # the test of KVM is not part of a boot
        begun = time.perf_counter()
        try:
            self.start()
            until_login(self, begun)
            seconds = time.perf_counter() - begun
            assert self._process is not None
            times = psutil.Process(self._process.pid).cpu_times()
            return seconds, times.user + times.system
        finally:
            self.stop()


def until_login(machine: Machine, begun: float) -> None:
    """Wait for the first successful login."""
    while not (_has_banner(machine) and _answers(machine)):
        if time.perf_counter() - begun > BOOT_SECONDS:
            raise RuntimeError(f"The image doesn't boot; its console ends:\n{machine.console()}")
        time.sleep(0.1)


def _has_banner(machine: Machine) -> bool:
    """Whether the SSH server sends its banner.

    Each check opens a new connection, because QEMU accepts it at once, and then retries the guest
    in growing intervals. An emulated server needs up to a second.
    """
    try:
        with socket.create_connection(machine.login_at, timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _answers(machine: Machine) -> bool:
    try:
        machine.run("true", root=False, seconds=60)
    except (CommandFailed, subprocess.TimeoutExpired):
        return False
    return True
