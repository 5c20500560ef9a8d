"""What may befall a service instance, and what only seems to."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from atoll.cloud.program import run
from atoll.model.keys import SERVICE_NETWORK
from tests.system.deployment import LibvirtDeployment

_DEVICES: Final = Path("/sys/class/net")

AWAY_SECONDS: Final = 25.0
"""How long something is away, which is three times the patience with an instance."""


class Events:
    """Events by name, for the instance of one share."""

    def __init__(self, deployment: LibvirtDeployment, share: Any) -> None:
        self._deployment = deployment
        self._share = share
        self.harmless: dict[str, Callable[[], None]] = {
            "pause": self._pause,
            "kill the worker": self._kill_worker,
            "stop Atoll": self._stop_atoll,
            "lock the database": self._lock_database,
            "cut the management network": self._cut_management,
            "cut the clients' network": self._cut_clients,
        }
        """The instance must be the same after these events."""
        self.harmful: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "lose": self._lose,
            "kill with the worker": self._kill_with_worker,
            "kill with libvirtd": self._kill_with_libvirtd,
            "kill with the database locked": self._kill_with_database,
            "cut both networks": self._cut_both,
            "upgrade": self._upgrade,
        }
        """After these events the instance must have booted again, or another has replaced it."""

    def let_happen(self, name: str) -> None:
        """Let an event happen, and end where it does not last."""
        (self.harmless | self.harmful)[name]()

    def instance(self) -> tuple[str, int]:
        """Id of the share's instance, and of its QEMU."""
        server = self._deployment.server(self._share)
        return server["instance_id"], self._deployment.qemu(server)

    # --- the instance -----------------------------------------------------------------------

    def _kill(self) -> None:
        os.kill(self._qemu(), signal.SIGKILL)

    def _freeze(self) -> None:
        os.kill(self._qemu(), signal.SIGSTOP)

    def _pause(self) -> None:
        """A guest that stands still for a moment must not be touched."""
        qemu = self._qemu()
        os.kill(qemu, signal.SIGSTOP)
        time.sleep(3)
        os.kill(qemu, signal.SIGCONT)

    def _lose(self) -> None:
        instance_id, _ = self.instance()
        [disk] = self._deployment.state.glob(f"local/*/instances/{instance_id}/root.qcow2")
        disk.write_bytes(b"")
        self._kill()

    def _upgrade(self) -> None:
        """Nothing bad: an operator has the instance replaced."""
        self._deployment.call_its_image_old(self._share)
        self._deployment.service.run("server", "upgrade", "--timeout", "280")

    def _qemu(self) -> int:
        return self.instance()[1]

    # --- Atoll and what it needs ------------------------------------------------------------

    def _kill_worker(self) -> None:
        os.kill(self._deployment.service.children()["worker"], signal.SIGKILL)

    def _kill_with_worker(self) -> None:
        self._kill_worker()
        self._kill()

    def _kill_with_libvirtd(self) -> None:
        qemu = self._qemu()
        [pid_file] = self._deployment.state.glob("local/daemon/**/libvirtd.pid")
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        os.kill(qemu, signal.SIGKILL)

    def _stop_atoll(self) -> None:
        self._deployment.service.stop()
        time.sleep(AWAY_SECONDS)
        self._deployment.service.start()

    def _lock_database(self) -> None:
        with self._locked_database():
            time.sleep(AWAY_SECONDS)

    def _kill_with_database(self) -> None:
        qemu = self._qemu()
        with self._locked_database():
            os.kill(qemu, signal.SIGKILL)
            time.sleep(AWAY_SECONDS)

    @contextmanager
    def _locked_database(self) -> Iterator[None]:
        """Nobody else can write, and those who try get an error after some seconds."""
        file = self._deployment.state / "atoll.sqlite"
        with closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    # --- networks ---------------------------------------------------------------------------

    def _cut_management(self) -> None:
        _cut(self._interfaces(is_service=True))

    def _cut_clients(self) -> None:
        _cut(self._interfaces(is_service=False))

    def _cut_both(self) -> None:
        _cut([*self._interfaces(is_service=True), *self._interfaces(is_service=False)])

    def _interfaces(self, *, is_service: bool) -> list[str]:
        """This machine's ends of the instance's interfaces in the service network, or the others.

        The MAC of an end differs in its first byte from that inside.
        """
        instance_id, _ = self.instance()
        networks = {
            network["id"]
            for network in self._deployment.records("networks")
            if (network["owner"] == SERVICE_NETWORK) == is_service
        }
        ports = {
            port["mac"][2:]
            for port in self._deployment.records("ports")
            if port["instance_id"] == instance_id and port["network_id"] in networks
        }
        ends = _DEVICES.glob("*/address")
        return [end.parent.name for end in ends if end.read_text()[2:].strip() in ports]


def _cut(interfaces: list[str]) -> None:
    """Let no packet pass for some seconds."""
    for name in interfaces:
        run(["ip", "link", "set", "dev", name, "down"])
    time.sleep(AWAY_SECONDS)
    for name in interfaces:
        if (_DEVICES / name).exists():  # an instance that has replaced this one has others
            run(["ip", "link", "set", "dev", name, "up"])
