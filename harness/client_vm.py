"""The user's virtual machine on this machine, on the share network's bridge.

It has a second interface, in QEMU's user network, only for SSH, so that the share network needs no
changes for the demo.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from atoll.cloud.local.acceleration import acceleration
from atoll.image import seed_iso
from harness.machine import CommandFailed, Machine, command
from harness.service import free_port

__all__ = ["ClientVm", "CommandFailed"]

CONSOLE_BYTES = 4000


class ClientVm(Machine):
    """A client in QEMU."""

    interface = "eth1"

    def __init__(self, directory: Path, image: Path, bridge: str, name: str = "client") -> None:
        super().__init__(directory, name)
        self._image = image
        self._bridge = bridge
        self._tap = f"tap-{name}"[:12] + f"{free_port() % 1000:03d}"
        self._port = free_port()
        self._login = ("127.0.0.1", self._port)
        self._process: subprocess.Popen[bytes] | None = None
        self.accelerations = directory / "client-acceleration.json"

    @property
    def is_on(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    def start(self) -> None:
        """Start the boot without waiting for it."""
        self._make_keys()
        instance_id = f"{self.name}-{self._port}"
        seed_iso(self._directory / "seed.iso", instance_id=instance_id, **self._identity())
        disk = self._directory / "disk.qcow2"
        command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self._image, disk)
        self._plug_in()
        with (self._directory / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(self._qemu(disk), stdout=log, stderr=log)

    def stop(self) -> None:
        """Power off the machine, and remove its interface."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        subprocess.run(["ip", "link", "delete", self._tap], capture_output=True, check=False)

    def console(self) -> str:
        """The end of the console output."""
        printed = (self._directory / "console.log").read_bytes()
        return printed[-CONSOLE_BYTES:].decode(errors="replace")

    def _plug_in(self) -> None:
        command("ip", "tuntap", "add", self._tap, "mode", "tap")
        command("ip", "link", "set", self._tap, "master", self._bridge, "up")

    def _share_interface(self) -> list[str]:
        mac = "52:54:00:{:02x}:{:02x}:{:02x}".format(*self._port.to_bytes(3, "big"))
        tap = f"tap,id=share,ifname={self._tap},script=no,downscript=no"
        return ["-netdev", tap, "-device", f"virtio-net-pci,netdev=share,mac={mac}"]

    def _qemu(self, disk: Path) -> list[str]:
        kind = acceleration(self.accelerations)
        accelerator = "kvm" if kind == "kvm" else "tcg,thread=multi,tb-size=128"
        argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", accelerator, "-m", "512"]
        argv += ["-cpu", "host" if kind == "kvm" else "max", "-display", "none", "-nodefaults"]
        argv += ["-drive", f"if=none,id=disk,file={disk},cache=unsafe"]
        argv += ["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"]
        argv += ["-device", "virtio-scsi-pci,id=scsi"]
        seed = self._directory / "seed.iso"
        argv += ["-drive", f"if=none,id=seed,media=cdrom,readonly=on,file={seed}"]
        argv += ["-device", "scsi-cd,drive=seed,bus=scsi.0"]
        argv += ["-netdev", f"user,id=ssh,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"]
        argv += ["-device", "virtio-net-pci,netdev=ssh"]
        argv += self._share_interface()
        return [*argv, "-serial", f"file:{self._directory / 'console.log'}"]
