"""A bare boot of the service image: a virtual machine with nothing but SSH, as a yardstick."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import psutil

from atoll.cloud.local.acceleration import acceleration
from demo.client import ClientVm
from demo.machine import BOOT_SECONDS, CommandFailed, Machine


class BareVm(ClientVm):
    """The demo's client without the interface that plugs it into a share network."""

    def __init__(self, directory: Path, image: Path) -> None:
        super().__init__(directory, image, bridge="", name="bare")

    def _plug_in(self) -> None:
        """Into nothing."""

    def _share_interface(self) -> list[str]:
        return []

    def boot(self) -> tuple[float, float]:
        """Boot and end it: seconds until the first login, and CPU seconds of QEMU by then."""
        acceleration(self.accelerations)  # proving that KVM works is no part of a boot
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
    """Return at the first login that works."""
    while not (_greets(machine) and _answers(machine)):
        if time.perf_counter() - begun > BOOT_SECONDS:
            raise RuntimeError(f"The image doesn't boot; its console ends:\n{machine.console()}")
        time.sleep(0.1)


def _greets(machine: Machine) -> bool:
    """Whether its SSH server does. Each time a new connection: QEMU accepts it in any case, and
    asks the guest less and less often. A second is what an emulated server needs."""
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
