"""The OpenSSH client, started so that it trusts one key, shows one key and asks nobody."""

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
"""Name under which the pinned host key is known, so that addresses may be used again."""


@dataclass(frozen=True, slots=True)
class SshOptions:
    """How service instances are reached from here."""

    runtime_dir: Path
    """Private directory (0700) for keys while a channel opens; never on shared storage."""
    port: int = 22
    bastion: Bastion | None = None
    """What stands between, if anything."""
    extra: tuple[str, ...] = ()
    """More ``ssh -o`` settings, each ``Name=value``."""
    program: tuple[str, ...] = ("ssh",)
    """The ssh client and what comes before its arguments."""


_running: weakref.WeakSet[SshProcess] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Leave no ssh behind: one whose instance is gone would wait for it long after we ended."""
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
                start_new_session=True,  # a Ctrl-C at the terminal is not for it
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
            )
        except OSError as error:
            self._files.remove()
            raise GuestUnreachable(f"ssh can't be started: {error.strerror}") from error
        assert self.process.stderr is not None
        self._complaints = Complaints(self.process.stderr)
        _running.add(self)

    def logged_in(self) -> None:
        """The keys have been used: nothing on disk needs them any more."""
        self._files.remove()

    def words(self) -> str:
        """The end of what ssh and the remote side complained of."""
        return self._complaints.words()

    def end(self, patience: float) -> None:
        """Close stdin, so that the agent finishes what it began; kill ssh after ``patience``."""
        self._files.remove()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            # With it the ssh that has logged in to the bastion, which may hang by itself.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def forget(self) -> None:
        """Let go of what is left once nobody reads any more."""
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
        """Name, in its folder, of ssh's own file.

        ssh hands it on to the ssh that logs in to the bastion, by way of a shell: so without the
        path, which might have any characters in it.
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
        # A short time-out on a slow instance never gets anywhere: one patient attempt.
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
    """Raise ``GuestUnreachable`` for what is no address: ssh would give it to a shell, too."""
    try:
        ip_address(text)
    except ValueError as error:
        raise GuestUnreachable(f"{text!r} is no address to ask a bastion for.") from error


def await_banner(address: str, port: int, deadline: float) -> None:
    """Return when an SSH server greets at ``address``; cheap to wait with while it boots.

    Connections are tried anew every second: the kernel asks a silent address less and less often.
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
            words = "connected, but no SSH server greets"
        except OSError as error:
            words = str(error)
        time.sleep(min(0.2, max(0.0, end - time.monotonic())))
    raise GuestUnreachable(f"No SSH server answers at {address} port {port}: {words}.")
