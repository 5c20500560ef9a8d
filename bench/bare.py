"""A bare boot of the service image: a virtual machine with nothing but SSH, as a yardstick."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import psutil

from atoll.cloud.local.acceleration import acceleration
from demo.client import ClientVm
from demo.machine import CommandFailed


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
            while not (self._greets() and self._answers()):
                assert time.perf_counter() - begun < 300, "the image doesn't boot"
                time.sleep(0.1)
            seconds = time.perf_counter() - begun
            assert self._process is not None
            times = psutil.Process(self._process.pid).cpu_times()
            return seconds, times.user + times.system
        finally:
            self.stop()

    def _greets(self) -> bool:
        """Whether its SSH server does. Each time a new connection: QEMU accepts it in any case,
        and asks the guest less and less often. A second is what an emulated server needs."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _answers(self) -> bool:
        try:
            self.run("true", root=False, seconds=60)
        except (CommandFailed, subprocess.TimeoutExpired):
            return False
        return True
