"""The user's virtual machine: on the share network's bridge, with its kernel's NFS client.

It has a second interface in QEMU's user network for our SSH only, so that nothing about the share
network is special for the demo's sake.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path

from atoll.cloud.local.acceleration import acceleration
from atoll.image import seed_iso
from demo.service import free_port

USER = "user"
BOOT_SECONDS = 300


class CommandFailed(RuntimeError):
    """A command in the client ended with an error."""

    def __init__(self, command: str, status: int, output: str) -> None:
        super().__init__(f"{command!r} ended with {status}: {output.strip()}")
        self.status = status
        self.output = output


class ClientVm:
    """One client, from its disk to its end. Use as a context manager."""

    def __init__(self, directory: Path, image: Path, bridge: str, name: str = "client") -> None:
        self._directory = directory / name
        self._image = image
        self._bridge = bridge
        self._tap = f"tap-{name}"[:12] + f"{free_port() % 1000:03d}"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.name = name

    def __enter__(self) -> ClientVm:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Boot, without waiting for it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_keys()
        disk = self._directory / "disk.qcow2"
        _run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self._image, disk)
        self._plug_in()
        console = (self._directory / "qemu.log").open("wb")
        self._process = subprocess.Popen(self._qemu(disk), stdout=console, stderr=console)

    def wait(self) -> None:
        """Return when it accepts SSH."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                self.run("true")
            except (CommandFailed, subprocess.TimeoutExpired):
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return

    def stop(self) -> None:
        """Power off, and take its interface away."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        subprocess.run(["ip", "link", "delete", self._tap], capture_output=True, check=False)

    def run(self, command: str, *, root: bool = True, seconds: float = 120) -> str:
        """Run a shell command in the client; its output. Raises ``CommandFailed``."""
        if root:
            command = f"sudo -n sh -c {shlex.quote(command)}"
        done = subprocess.run(
            [*self._ssh(), command], capture_output=True, text=True, timeout=seconds, check=False
        )
        if done.returncode:
            raise CommandFailed(command, done.returncode, done.stdout + done.stderr)
        return done.stdout

    def put(self, source: Path, target: str) -> None:
        """Copy a small file into the client."""
        argv = [*self._ssh(), f"cat > {shlex.quote(target)}"]
        subprocess.run(argv, input=source.read_bytes(), check=True, timeout=60)

    def address(self) -> str:
        """Its IPv4 address on the share network."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for link in json.loads(self.run("ip -j -4 address show dev eth1", root=False)):
                for address in link["addr_info"]:
                    return str(address["local"])
            time.sleep(1)
        raise RuntimeError("The client got no address on the share network.")

    # --- inside -----------------------------------------------------------------------------

    def mount(self, export: str, where: str, *, version: str = "4.2") -> None:
        """Mount an NFS export, as a user would; raises ``CommandFailed`` when refused."""
        quoted = shlex.quote(export)
        self.run(f"mkdir -p {where} && mount -t nfs -o vers={version},hard {quoted} {where}")

    def unmount(self, where: str) -> None:
        """Unmount."""
        self.run(f"umount -f {where} || umount -l {where}")

    # --- making it --------------------------------------------------------------------------

    def _plug_in(self) -> None:
        _run("ip", "tuntap", "add", self._tap, "mode", "tap")
        _run("ip", "link", "set", self._tap, "master", self._bridge, "up")

    def _share_interface(self) -> list[str]:
        mac = "52:54:00:{:02x}:{:02x}:{:02x}".format(*self._port.to_bytes(3, "big"))
        tap = f"tap,id=share,ifname={self._tap},script=no,downscript=no"
        return ["-netdev", tap, "-device", f"virtio-net-pci,netdev=share,mac={mac}"]

    def _make_keys(self) -> None:
        for name in ("login", "host"):
            (self._directory / name).unlink(missing_ok=True)
            key = self._directory / name
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key)
        host_public = (self._directory / "host.pub").read_text()
        seed_iso(
            self._directory / "seed.iso",
            instance_id=f"{self.name}-{self._port}",
            user=USER,
            authorized_key=(self._directory / "login.pub").read_text(),
            host_key=(self._directory / "host").read_text(),
            host_key_public=host_public,
            hostname=self.name,
        )
        kind, key_text = host_public.split()[:2]
        (self._directory / "known_hosts").write_text(f"{self.name} {kind} {key_text}\n")

    def _qemu(self, disk: Path) -> list[str]:
        kind = acceleration(self._directory.parent / "client-acceleration.json")
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

    def _ssh(self) -> list[str]:
        options = {
            "IdentityFile": self._directory / "login",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self._directory / "known_hosts",
            "HostKeyAlias": self.name,
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "60",
            "LogLevel": "ERROR",
            "ControlMaster": "auto",
            "ControlPersist": "60",
            "ControlPath": self._directory / "control",
        }
        argv = ["ssh", "-F", "none", "-p", str(self._port)]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        return [*argv, f"{USER}@127.0.0.1"]


def _run(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], check=True, capture_output=True)
