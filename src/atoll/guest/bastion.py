"""A bastion: the one machine that may be logged in to from here, and from which instances may.

ssh reaches through it by ``ProxyJump``: the bastion passes bytes on and sees neither keys nor what
is said, and the instance's host key is checked here, as without a bastion. How the bastion itself
is logged in to stands in a file of ssh's configuration that lives only while a channel opens.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import GuestUnreachable
from atoll.guest.answers import clean
from atoll.guest.private_file import PrivateFile, new_stem

ALIAS = "atoll-bastion"
"""The bastion's name in that configuration, and of its pinned host key."""


@dataclass(frozen=True, slots=True)
class Bastion:
    """How it is reached."""

    host: str
    """Name or address."""
    user: str = ""
    """Empty: the user that we run as."""
    port: int = 22
    private_key: Path | None = None
    """None: the usual ones of the user that we run as."""
    host_key_public: str = ""
    """Empty: it must be in that user's known hosts, or in the system's."""

    def configuration(self, known_hosts: Path) -> str:
        """What ssh is told; ``known_hosts`` is where the pinned key is, if one is."""
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
        """Absent is fine."""
        for file in self._files:
            file.remove()


def greets_behind(
    bastion: Bastion, folder: Path, address: str, port: int = 22, *, seconds: float
) -> None:
    """Return when the bastion lets us in and an SSH server greets at ``address``, as it sees that.

    Raises ``GuestUnreachable`` with ssh's words.
    """
    files = BastionFiles(bastion, folder)
    argv = ["ssh", "-F", str(files.configuration), "-T", "-W", f"[{address}]:{port}", ALIAS]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise GuestUnreachable(
            f"Nobody has greeted from {address} behind the bastion {bastion.host} in {seconds:g} s."
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
    """As ssh's configuration has it: ``%`` begins a token there, and names may have blanks."""
    return '"' + str(path).replace("%", "%%") + '"'
