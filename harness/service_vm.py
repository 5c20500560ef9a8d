"""A real service instance for tests: the service image in QEMU, and disks plugged in meanwhile.

Plain QEMU, emulated: no libvirt and no privileges.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from atoll.guest.base import Access
from atoll.guest.channel import SshGuest, open_guest
from atoll.guest.ssh import SshOptions
from atoll.image import build_image, seed_iso

BOOT_SECONDS = 300.0


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ServiceVm:
    """One virtual machine; its root disk survives ``kill`` and ``start``."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._disks: dict[str, Path] = {}
        self._luns: dict[str, int] = {}
        for name in ("user", "host"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name],
                check=True,
            )
        shutil.copyfile(image, folder / "base.qcow2")
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2"]
        subprocess.run([*argv, "root.qcow2"], cwd=folder, check=True)
        seed_iso(
            folder / "seed.iso",
            instance_id="test-1",
            user="atoll",
            authorized_key=(folder / "user.pub").read_text(),
            host_key=(folder / "host").read_text(),
            host_key_public=(folder / "host.pub").read_text(),
            hostname="service",
        )
        self.access = Access(
            "atoll", "127.0.0.1", (folder / "user").read_text(), (folder / "host.pub").read_text()
        )
        self._control = folder / "control"
        self.options = SshOptions(folder / "run", port=self.port)

    def start(self) -> None:
        """Switch it on, with all disks that are plugged in."""
        argv = ["qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-m", "512", "-smp", "1"]
        argv += ["-accel", "tcg,thread=multi,tb-size=128", "-nodefaults", "-display", "none"]
        argv += ["-drive", "if=none,id=root,file=root.qcow2,cache=unsafe"]
        argv += [
            "-device",
            "virtio-blk-pci,drive=root,bootindex=1",
            "-device",
            "virtio-scsi-pci,id=s0",
        ]
        argv += ["-drive", "if=none,id=cd,media=cdrom,readonly=on,file=seed.iso"]
        argv += ["-device", "scsi-cd,drive=cd,bus=s0.0,lun=0,scsi-id=0"]
        argv += ["-device", "virtio-rng-pci", "-device", "virtio-net-pci,netdev=n"]
        argv += ["-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{self.port}-:22"]
        argv += ["-device", "i6300esb", "-action", "watchdog=reset"]
        argv += ["-serial", "file:console.log", "-qmp", "unix:qmp.sock,server=on,wait=off"]
        for serial, path in self._disks.items():
            argv += ["-drive", f"if=none,id=d{serial},file={path},format=raw,cache=unsafe"]
            device = f"scsi-hd,drive=d{serial},id=p{serial},serial={serial}"
            argv += ["-device", f"{device},bus=s0.0,scsi-id=1,lun={self._luns[serial]}"]
        self._process = subprocess.Popen(argv, cwd=self.folder)

    @property
    def pid(self) -> int:
        """The process id of QEMU."""
        assert self._process is not None
        return self._process.pid

    def hang_up(self) -> None:
        """Log in anew for the next command, because the machine boots again."""
        self._control.unlink(missing_ok=True)

    def kill(self) -> None:
        """Pull the plug."""
        self.hang_up()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def open(self, deadline: float = BOOT_SECONDS) -> SshGuest:
        """A channel to its agent, waiting for the boot."""
        return open_guest(self.access, self.options, deadline)

    def disk(self, serial: str, size_gib: int = 1) -> Path:
        """Make a blank disk and plug it in."""
        path = self.folder / f"{serial}.raw"
        with path.open("wb") as file:
            file.truncate(size_gib << 30)
        self.plug(serial, path)
        return path

    def plug(self, serial: str, path: Path) -> None:
        """Plug a disk in, as a running cloud does."""
        self._disks[serial] = path
        self._luns[serial] = lun = len(self._luns) + 1
        if self._process is None:
            return
        self.monitor(f"drive_add 0 if=none,id=d{serial},file={path},format=raw,cache=unsafe")
        self.monitor(
            f"device_add scsi-hd,drive=d{serial},id=p{serial},serial={serial}"
            f",bus=s0.0,scsi-id=1,lun={lun}"
        )

    def unplug(self, serial: str) -> Path:
        """Take a disk away."""
        path = self._disks.pop(serial)
        if self._process is not None:
            self.monitor(f"device_del p{serial}")
            time.sleep(2)
        return path

    def resize(self, serial: str, size_gib: int) -> None:
        """Grow a disk under the running machine."""
        self.monitor(f"block_resize d{serial} {size_gib}G")

    def monitor(self, line: str) -> None:
        """Give QEMU an order; its words are an error."""
        words = self._qmp("human-monitor-command", {"command-line": line}).strip()
        if words and words != "OK":
            raise RuntimeError(f"{line}: {words}")

    def _qmp(self, command: str, arguments: dict[str, Any]) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.folder / "qmp.sock"))
            stream = connection.makefile("rw", encoding="utf-8")
            stream.readline()
            for name, values in (("qmp_capabilities", {}), (command, arguments)):
                stream.write(json.dumps({"execute": name, "arguments": values}) + "\n")
                stream.flush()
                answer: dict[str, Any] = {}
                while "return" not in answer and "error" not in answer:
                    answer = json.loads(stream.readline())
            if "error" in answer:
                raise RuntimeError(str(answer["error"]))
            return str(answer["return"])

    def ssh(self, command: str) -> list[str]:
        """The argument list that runs a command inside."""
        hosts = self.folder / "known_hosts"
        hosts.write_text(f"service {self.access.host_key_public}")
        argv = ["ssh", "-F", "none", "-i", str(self.folder / "user"), "-p", str(self.port)]
        argv += ["-o", f"UserKnownHostsFile={hosts}", "-o", "HostKeyAlias=service"]
        argv += ["-o", "BatchMode=yes", "-o", "ConnectTimeout=60", "-o", "LogLevel=ERROR"]
        # Logging in costs an emulated machine seconds: all commands share one connection.
        argv += ["-o", "ControlMaster=auto", "-o", f"ControlPath={self._control}"]
        return [*argv, "-o", "ControlPersist=60", "atoll@127.0.0.1", command]

    def shell(self, script: str, deadline: float = 120, check: bool = True) -> str:
        """Run a script as root inside; what it printed."""
        done = subprocess.run(
            self.ssh("sudo -n bash -s"),
            input=script.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=deadline,
            check=False,
        )
        words = done.stdout.decode("utf-8", "replace")
        if check and done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {words}")
        return words


def service_image() -> Path:
    """The image that ``ATOLL_TEST_IMAGE`` names, else the machine's, built if need be."""
    named = os.environ.get("ATOLL_TEST_IMAGE")
    return Path(named) if named else build_image(Path("/var/cache/atoll/images")).path
