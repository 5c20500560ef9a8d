"""A bastion: an SSH server through which service instances are reached.

ssh uses it by ``ProxyJump``: the bastion only forwards encrypted bytes, and the instance's host key
is checked here, as without a bastion. The settings for the login at the bastion are in an ssh
configuration file that exists only while a channel opens.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import GuestUnreachable
from atoll.guest.answers import clean
from atoll.guest.private_file import PrivateFile, new_stem

ALIAS = "atoll-bastion"
"""The bastion's name in that configuration, and in known hosts."""


@dataclass(frozen=True, slots=True)
class Bastion:
    """How the bastion is reached."""

    host: str
    """Host name or address."""
    user: str = ""
    """Empty means the user that runs Atoll."""
    port: int = 22
    private_key: Path | None = None
    """None means the default keys of the user that runs Atoll."""
    host_key_public: str = ""
    """Empty means that the key is in that user's or the system's known hosts."""

    def configuration(self, known_hosts: Path) -> str:
        """The ssh configuration; ``known_hosts`` is the file with the pinned key, if any."""
        settings = {
            "HostName": self.host,
            "Port": str(self.port),
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "30",
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "4",
            "LogLevel": "ERROR",
        }
        if self.user:
            settings["User"] = self.user
        if self.private_key is not None:
            settings |= {"IdentityFile": _quoted(self.private_key), "IdentitiesOnly": "yes"}
        if self.host_key_public:
            settings |= {
                "HostKeyAlias": ALIAS,
                "UserKnownHostsFile": _quoted(known_hosts),
                "GlobalKnownHostsFile": "/dev/null",
                "UpdateHostKeys": "no",
            }
        lines = (f"    {name} {value}\n" for name, value in settings.items())
        return f"Host {ALIAS}\n{''.join(lines)}"


class BastionFiles:
    """A bastion's configuration and pinned host key, on disk only while ssh logs in."""

    def __init__(self, bastion: Bastion, folder: Path) -> None:
        stem = new_stem(folder)
        self.configuration = folder / f"{stem}.bastion"
        known_hosts = folder / f"{stem}.bastion-hosts"
        self._files = [PrivateFile(self.configuration, bastion.configuration(known_hosts))]
        if bastion.host_key_public:
            text = f"{ALIAS} {bastion.host_key_public.strip()}\n"
            self._files.append(PrivateFile(known_hosts, text))

    def remove(self) -> None:
        """Remove the files, which may be absent."""
        for file in self._files:
            file.remove()


def greets_behind(
    bastion: Bastion, folder: Path, address: str, port: int = 22, *, seconds: float
) -> None:
    """Check that an SSH server at ``address`` answers through the bastion.

    Raises ``GuestUnreachable`` with ssh's error message.
    """
    files = BastionFiles(bastion, folder)
    argv = ["ssh", "-F", str(files.configuration), "-T", "-W", f"[{address}]:{port}", ALIAS]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise GuestUnreachable(
            f"No SSH banner from {address} through the bastion {bastion.host} within {seconds:g} s."
        ) from error
    except OSError as error:
        raise GuestUnreachable(f"ssh can't be started: {error.strerror}") from error
    finally:
        files.remove()
    if not done.stdout.startswith(b"SSH-"):
        words = clean(done.stderr.decode("utf-8", "replace"))
        raise GuestUnreachable(
            f"{address} can't be reached through the bastion {bastion.host}: {words}"
        )


def _quoted(path: Path) -> str:
    """Quote a path for ssh's configuration, where ``%`` begins a token and blanks end a word."""
    return '"' + str(path).replace("%", "%%") + '"'
