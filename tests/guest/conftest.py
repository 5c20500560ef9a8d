"""Guests for tests: the real agent and the real channel, only ssh and the servers are doubles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from atoll.guest.base import Access, ExportRule, WantedShare
from atoll.guest.channel import SshGuest
from atoll.guest.ssh import SshOptions
from harness.service_vm import ServiceVm, service_image

HERE = Path(__file__).parent
MIB = 1 << 20
KINDS = pytest.mark.parametrize("kind", ["ext4", "xfs"])
ACCESS = Access("atoll", "192.0.2.1", "PRIVATE", "ssh-ed25519 PUBLIC")


@dataclass
class InstanceDouble:
    """A service instance as far as the agent can tell."""

    root: Path

    def options(self, delay: float = 0) -> SshOptions:
        """How to reach it."""
        program = (sys.executable, str(HERE / "ssh_double.py"), str(self.root), str(delay))
        return SshOptions(self.root / "keys", program=program)

    def open(self, delay: float = 0, deadline: float = 20) -> SshGuest:
        """A channel to its agent."""
        return SshGuest(ACCESS, self.options(delay), deadline)

    def lines(self, name: str) -> list[str]:
        """What the double of a program noted."""
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []

    def unit(self, share: WantedShare) -> str:
        """The service that mounts a share at boot, if there is one."""
        path = self.units / f"atoll-share-{share.share_id}.service"
        return path.read_text() if path.exists() else ""

    @property
    def units(self) -> Path:
        """Where the instance keeps what systemd is to do."""
        return self.root / "etc/systemd/system"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstanceDouble:
    programs = HERE / "programs"
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}:/usr/sbin:/sbin")
    root = tmp_path / "instance"
    root.mkdir()
    return InstanceDouble(root)


@pytest.fixture
def guest(site: InstanceDouble) -> Iterator[SshGuest]:
    guest = site.open()
    yield guest
    guest.close()


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceVm]:
    """A real service instance, which boots once for all of this folder that one process runs."""
    machine = ServiceVm(tmp_path_factory.mktemp("instance"), service_image())
    machine.start()
    guest = machine.open()
    guest.start_nfs(with_state=False)
    guest.close()
    yield machine
    machine.kill()


class Disks:
    """Block devices with serials: loop devices on sparse files."""

    def __init__(self, site: InstanceDouble) -> None:
        self._site = site
        self._devices: dict[str, Path] = {}
        self._pulled: list[Path] = []

    def plug(self, image: Path | None = None, size_mib: int = 512) -> str:
        """Plug a disk in; its serial."""
        serial = str(uuid4())
        path = self._site.root / f"{serial}.raw"
        if image is None:
            with path.open("wb") as file:
                file.truncate(size_mib << 20)
        else:
            subprocess.run(["cp", "--sparse=always", image, path], check=True)
        self._plug(serial)
        return serial

    def _plug(self, serial: str) -> None:
        device = Path(_losetup("--find", "--show", str(self.image(serial))))
        self._devices[serial] = device
        folder = self._site.root / "sys/block" / device.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "serial").write_text(f"{serial}\n")

    def pull(self, serial: str) -> None:
        """Pull a disk out while it is mounted; its mount stays, and leads nowhere."""
        device = self._devices.pop(serial)
        self._pulled.append(device)
        shutil.rmtree(self._site.root / "sys/block" / device.name)

    def plug_back(self, serial: str) -> None:
        """Plug in again what was pulled: another device to the kernel."""
        self._plug(serial)

    def image(self, serial: str) -> Path:
        """The file behind a disk."""
        return self._site.root / f"{serial}.raw"

    def device(self, serial: str) -> Path:
        """The device of a disk."""
        return self._devices[serial]

    def carried(self, serial: str) -> dict[str, str]:
        """What blkid finds on a disk."""
        argv = ["blkid", "-p", "-o", "export", str(self.device(serial))]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    def grow(self, serial: str, size_mib: int) -> None:
        """Grow a disk while it is in use."""
        with self.image(serial).open("r+b") as file:
            file.truncate(size_mib << 20)
        _losetup("--set-capacity", str(self._devices[serial]))

    def unplug_all(self) -> None:
        """Unmount and unplug everything."""
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            place = line.split()[1]
            if place.startswith(str(self._site.root)):
                subprocess.run(["umount", "--lazy", place], check=True)
        for device in self._pulled:
            _losetup("--detach", str(device))
        for device in self._devices.values():
            _losetup("--detach", str(device))
            shutil.rmtree(self._site.root / "sys/block" / device.name)


def _losetup(*arguments: str) -> str:
    done = subprocess.run(["losetup", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def disks(site: InstanceDouble) -> Iterator[Disks]:
    if not Path("/dev/loop-control").exists():
        pytest.skip("needs loop devices")
    disks = Disks(site)
    yield disks
    disks.unplug_all()


def rules(*addresses: str, level: str = "rw") -> tuple[ExportRule, ...]:
    """Rules by address."""
    return tuple(ExportRule("ip", to, level) for to in addresses)  # type: ignore[arg-type]


def wanted(site: InstanceDouble, serial: str, **changes: Any) -> WantedShare:
    """A new share on this disk."""
    share = WantedShare(
        share_id=f"share-{serial[:8]}",
        serial=serial,
        file_system="ext4",
        may_format=True,
        path=f"{site.root}/shares/share-{serial[:8]}",
        protocol="NFS",
        fsid=serial,
        rules=rules("10.0.0.1"),
    )
    return replace(share, **changes)
