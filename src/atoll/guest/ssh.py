"""Starts the OpenSSH client so that it trusts one host key, uses one key and never prompts."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import time
import weakref
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from atoll.errors import GuestUnreachable
from atoll.guest.base import Access
from atoll.guest.bastion import ALIAS as BASTION
from atoll.guest.bastion import Bastion, BastionFiles
from atoll.guest.complaints import Complaints
from atoll.guest.payload import BOOTSTRAP
from atoll.guest.private_file import PrivateFile, new_stem

ALIAS = "service-instance"
"""Name of the pinned host key, so that instances may reuse an address."""


@dataclass(frozen=True, slots=True)
class SshOptions:
    """How service instances are reached from here."""

    runtime_dir: Path
    """Private directory (0700) for keys while a channel opens. It must not be on shared storage."""
    port: int = 22
    bastion: Bastion | None = None
    """The bastion in front of the instances, if there is one."""
    extra: tuple[str, ...] = ()
    """More ``ssh -o`` settings, each ``Name=value``."""
    program: tuple[str, ...] = ("ssh",)
    """The ssh client, and arguments that precede all others."""


_running: weakref.WeakSet[SshProcess] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """End all ssh processes; with a dead instance one would outlive this process for long."""
    for process in list(_running):
        process.end(patience=0)


class SshProcess:
    """A remote Python that waits for its program on stdin."""

    def __init__(self, access: Access, options: SshOptions) -> None:
        if options.bastion is not None:
            _check_address(access.address)
        self._files = _KeyFiles(access, options.runtime_dir, options.bastion)
        try:
            self.process = subprocess.Popen(
                _command(access, options, self._files),
                cwd=options.runtime_dir if options.bastion is not None else None,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C at the terminal must not reach it
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
            )
        except OSError as error:
            self._files.remove()
            raise GuestUnreachable(f"ssh can't be started: {error.strerror}") from error
        assert self.process.stderr is not None
        self._complaints = Complaints(self.process.stderr)
        _running.add(self)

    def logged_in(self) -> None:
        """Remove the keys from disk, because they have been used."""
        self._files.remove()

    def words(self) -> str:
        """The end of the error output of ssh and of the remote side."""
        return self._complaints.words()

    def end(self, patience: float) -> None:
        """Close stdin, so that the agent finishes its requests; kill ssh after ``patience`` s."""
        self._files.remove()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            # This also kills the ssh process for the bastion, which may hang on its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def forget(self) -> None:
        """Close the output, once its reader has ended."""
        assert self.process.stdout is not None
        self.process.stdout.close()


class _KeyFiles:
    """The private key and the pinned host key, on disk only while ssh logs in."""

    def __init__(self, access: Access, folder: Path, bastion: Bastion | None = None) -> None:
        stem = new_stem(folder)
        self.key = folder / f"{stem}.key"
        self.known_hosts = folder / f"{stem}.hosts"
        self._bastion = BastionFiles(bastion, folder) if bastion is not None else None
        self._files = (
            PrivateFile(self.key, access.private_key.rstrip("\n") + "\n"),
            PrivateFile(self.known_hosts, f"{ALIAS} {access.host_key_public.strip()}\n"),
        )

    @property
    def configuration(self) -> str:
        """Name of the ssh configuration file, relative to its folder.

        ssh passes it through a shell to the ssh process for the bastion. So it has no path, which
        could contain any characters.
        """
        return self._bastion.configuration.name if self._bastion is not None else "none"

    def remove(self) -> None:
        for file in self._files:
            file.remove()
        if self._bastion is not None:
            self._bastion.remove()


def _command(access: Access, options: SshOptions, files: _KeyFiles) -> list[str]:
    settings = [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        f"IdentityFile={files.key}",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey",
        "PasswordAuthentication=no",
        f"UserKnownHostsFile={files.known_hosts}",
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={ALIAS}",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ControlMaster=no",
        "ControlPath=none",
        # On a slow instance, one long attempt succeeds where several short ones would not.
        "ConnectTimeout=60",
        "ConnectionAttempts=1",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "LogLevel=ERROR",
        *options.extra,
    ]
    if options.bastion is not None:
        settings.append(f"ProxyJump={BASTION}")
    python = f"python3 -I -S -u -c '{BOOTSTRAP}'"
    return [
        *options.program,
        *("-F", files.configuration, "-T", "-e", "none", "-p", str(options.port)),
        *(argument for setting in settings for argument in ("-o", setting)),
        *("-l", access.user, "--", access.address),
        python if access.user == "root" else f"sudo -n {python}",
    ]


def _check_address(text: str) -> None:
    """Raise ``GuestUnreachable`` for an invalid address, which ssh would pass to a shell."""
    try:
        ip_address(text)
    except ValueError as error:
        raise GuestUnreachable(f"{text!r} is not a valid IP address.") from error


def await_banner(address: str, port: int, deadline: float) -> None:
    """Wait until an SSH server at ``address`` sends its banner, with little cost while it boots.

    A new connection is tried every second, because the kernel retries one less and less often.
    Raises ``GuestUnreachable`` after ``deadline`` seconds.
    """
    end = time.monotonic() + deadline
    words = "no answer"
    while (left := end - time.monotonic()) > 0:
        try:
            with socket.create_connection((address, port), timeout=min(left, 1)) as connection:
                connection.settimeout(min(left, 30))
                if connection.recv(4) == b"SSH-":
                    return
            words = "connected, but received no SSH banner"
        except OSError as error:
            words = str(error)
        time.sleep(min(0.2, max(0.0, end - time.monotonic())))
    raise GuestUnreachable(f"No SSH server answers at {address} port {port}: {words}.")
