"""One service instance in plain QEMU (emulated, user-mode network): no libvirt, no privileges."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from atoll.image import seed_iso

HOSTNAME = "service-one"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_key(path: Path) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True)


class Instance:
    """A context manager: boots on entry, is killed on exit."""

    def __init__(
        self, image: Path, folder: Path, *, root_bus: str = "virtio-blk", seeded: bool = True
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self._image = image
        self._root_bus = root_bus
        self._seeded = seeded
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("login", "host"):
            make_key(self.folder / name)
        host_public = (self.folder / "host.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_public}")
        seed_iso(
            self.folder / "seed.iso",
            instance_id="i-0001",
            user="atoll",
            authorized_key=(self.folder / "login.pub").read_text(),
            host_key=(self.folder / "host").read_text(),
            host_key_public=host_public,
            hostname=HOSTNAME,
        )
        disk = self.folder / "disk.qcow2"
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2"]
        subprocess.run([*argv, "-b", str(self._image), str(disk)], check=True)
        self._start()
        return self

    def _start(self) -> None:
        disk, seed = self.folder / "disk.qcow2", self.folder / "seed.iso"
        root = {"virtio-blk": "virtio-blk-pci", "virtio-scsi": "scsi-hd,bus=scsi.0"}[self._root_bus]
        cd = (
            *("-drive", f"if=none,id=seed,media=cdrom,readonly=on,file={seed}"),
            *("-device", "scsi-cd,drive=seed,bus=scsi.0"),
        )
        self._process = subprocess.Popen(
            [
                *(
                    "qemu-system-x86_64",
                    "-machine",
                    "q35",
                    "-accel",
                    "tcg,thread=multi,tb-size=128",
                ),
                *("-cpu", "max", "-m", "512", "-smp", "1", "-nodefaults", "-display", "none"),
                *("-device", "virtio-scsi-pci,id=scsi", "-device", "virtio-rng-pci"),
                *("-drive", f"if=none,id=root,cache=unsafe,file={disk}"),
                *("-device", f"{root},drive=root"),
                *(cd if self._seeded else ()),
                *("-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
                *("-device", "virtio-net-pci,netdev=net0"),
                # an empty slot to plug a second interface into
                *("-device", "pcie-root-port,id=free-slot,chassis=1"),
                *("-serial", f"file:{self.folder}/console.log"),
                *("-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"),
            ]
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()

    @property
    def console(self) -> str:
        return (self.folder / "console.log").read_text(errors="replace")

    @property
    def cpu_seconds(self) -> float:
        """CPU time that QEMU has used: what a boot costs, however busy the machine is."""
        assert self._process
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ssh(self, command: str, *, check: bool = True, options: tuple[str, ...] = ()) -> str:
        """Run a command by the pinned host key; its output."""
        settings = [  # the first of two settings counts
            *options,
            *("IdentitiesOnly=yes", "BatchMode=yes", "ConnectTimeout=60", "LogLevel=ERROR"),
            *("StrictHostKeyChecking=yes", f"UserKnownHostsFile={self.folder}/known_hosts"),
        ]
        argv = ["ssh", "-i", str(self.folder / "login"), "-p", str(self.port)]
        for setting in settings:
            argv += ["-o", setting]
        done = subprocess.run(
            [*argv, "atoll@127.0.0.1", command], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stderr}\n{done.stdout}"
        return done.stdout + ("" if check else done.stderr)

    def wait_for_ssh(self, seconds: float = 240) -> None:
        """Until somebody can log in; fails with the console's last lines."""
        deadline = time.monotonic() + seconds
        assert self._process
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                # QEMU accepts for the guest and hangs up where nobody listens
                with socket.create_connection(("127.0.0.1", self.port), timeout=60) as probe:
                    if probe.recv(4) == b"SSH-":
                        return
            except OSError:
                pass
            time.sleep(0.3)
        raise AssertionError(f"no SSH within {seconds} s:\n{self.console[-2000:]}")

    def reboot_hard(self) -> None:
        """Pull the plug and start again."""
        assert self._process
        self._process.kill()
        self._process.wait()
        self._start()
        self.wait_for_ssh()

    def qmp(self, *commands: tuple[str, dict[str, Any]]) -> None:
        """Say something to QEMU's monitor; each command must succeed."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.folder / "qmp"))
            stream = monitor.makefile("rw")
            stream.readline()
            for name, arguments in (("qmp_capabilities", {}), *commands):
                stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
                assert "return" in answer, answer
