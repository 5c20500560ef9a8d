"""A user's machine, which is reached by SSH with a key and a pinned host key, and mounts shares.

``ClientVm`` is a virtual machine on this machine, ``ClientServer`` a server in Nova. Both boot the
service image, which has the kernel's NFS client.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path
from typing import TypeVar

USER = "user"
BOOT_SECONDS = 300

M = TypeVar("M", bound="Machine")


class CommandFailed(RuntimeError):
    """A command in the client has failed."""

    def __init__(self, command: str, status: int, output: str) -> None:
        super().__init__(f"{command!r} ended with {status}: {output.strip()}")
        self.status = status
        self.output = output


class Machine:
    """A client, which is also a context manager."""

    interface = "eth0"
    """Its interface in the network from which it mounts."""
    connect_seconds = 60
    """Longest time of one attempt to log in; an unused address does not refuse connections."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory / name
        self.name = name
        self._login = ("", 22)

    def __enter__(self: M) -> M:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- life cycle -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the boot without waiting for it."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the machine, and remove what was made for it."""
        raise NotImplementedError

    def console(self) -> str:
        """The end of the console output."""
        raise NotImplementedError

    def wait(self) -> None:
        """Wait until it accepts SSH. Raises ``CommandFailed``, with the end of the console."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                self.run("true")
            except (CommandFailed, subprocess.TimeoutExpired) as error:
                if time.monotonic() > deadline:
                    said = f"{error}\nIts console ends:\n{self.console()}"
                    raise CommandFailed("true", 255, said) from error
                time.sleep(1)
            else:
                return

    # --- commands ---------------------------------------------------------------------------

    def run(self, command: str, *, root: bool = True, seconds: float = 120) -> str:
        """Run a shell command in the client; return its output. Raises ``CommandFailed``."""
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
            shown = self.run(f"ip -j -4 address show dev {self.interface}", root=False)
            for link in json.loads(shown):
                for address in link["addr_info"]:
                    return str(address["local"])
            time.sleep(1)
        raise RuntimeError("The client got no address on the share network.")

    def mount(self, export: str, where: str, *, version: str = "4.2") -> None:
        """Mount an NFS export. Raises ``CommandFailed`` if it is refused."""
        quoted = shlex.quote(export)
        self.run(f"mkdir -p {where} && mount -t nfs -o vers={version},hard {quoted} {where}")

    def mount_smb(self, export: str, where: str, *, version: str = "3.1.1") -> None:
        """Mount an SMB share as guest. Raises ``CommandFailed`` if it is refused.

        Without ``hard``, requests fail when the server has been silent for some time.
        """
        quoted = shlex.quote(export.replace("\\", "/"))
        options = f"guest,vers={version},hard"
        self.run(f"mkdir -p {where} && mount -t cifs -o {options} {quoted} {where}")

    def unmount(self, where: str) -> None:
        """Unmount a file system, lazily if necessary."""
        self.run(f"umount -f {where} || umount -l {where}")

    # --- logging in -------------------------------------------------------------------------

    @property
    def login_key(self) -> Path:
        """The file with the private key for the login."""
        return self._directory / "login"

    @property
    def host_key(self) -> str:
        """The public host key."""
        return self._key("host.pub").strip()

    @property
    def login_at(self) -> tuple[str, int]:
        """The address and the port of its SSH server."""
        return self._login

    @property
    def login_address(self) -> str:
        """The address of its SSH server."""
        return self._login[0]

    def _make_keys(self) -> None:
        """Make new keys for the login and the host, and pin the host key."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("login", "host"):
            (self._directory / name).unlink(missing_ok=True)
            key = self._directory / name
            command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key)
        kind, key_text = self._key("host.pub").split()[:2]
        (self._directory / "known_hosts").write_text(f"{self.name} {kind} {key_text}\n")

    def _key(self, name: str) -> str:
        return (self._directory / name).read_text()

    def _identity(self) -> dict[str, str]:
        """The arguments of the machine's seed."""
        return {
            "user": USER,
            "authorized_key": self._key("login.pub"),
            "host_key": self._key("host"),
            "host_key_public": self._key("host.pub"),
            "hostname": self.name,
        }

    def _log_out(self) -> None:
        """End the shared SSH connection, which would otherwise wait for a deleted machine."""
        ssh = self._ssh()
        argv = [*ssh[:-1], "-O", "exit", ssh[-1]]
        subprocess.run(argv, capture_output=True, check=False, timeout=10)

    def _ssh(self) -> list[str]:
        options = {
            "IdentityFile": self._directory / "login",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self._directory / "known_hosts",
            "HostKeyAlias": self.name,
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": self.connect_seconds,
            "LogLevel": "ERROR",
            "ControlMaster": "auto",
            "ControlPersist": "60",
            "ControlPath": self._directory / "control",
        }
        address, port = self._login
        argv = ["ssh", "-F", "none", "-p", str(port)]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        return [*argv, f"{USER}@{address}"]


def command(*argv: str | Path) -> None:
    """Run a program on this machine. Raises ``subprocess.CalledProcessError``."""
    subprocess.run([str(word) for word in argv], check=True, capture_output=True)
