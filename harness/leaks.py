"""Finds what a run has left on the machine: processes, interfaces, firewall tables, files."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from harness.tables import BRIDGE, Tables

EXPECTED_FILES = {
    "admin.token",
    "atoll.toml",
    "atoll.sqlite",
    "atoll.sqlite-shm",
    "atoll.sqlite-wal",
    "ready.txt",
    "secret.key",
    "witness",
    "serve.log",
}
"""Files of a deployment without shares: its database, keys and log."""

EXPECTED_FOLDERS = {"atoll.sqlite.reserve", "workers"}
"""Folders whose files remain: the reserve of the database, and the locks of workers."""


_NEUTRONS = re.compile(r"(brq|tap|qvo|qvb|qbr|qr-|qg-|ns-|sg-)[0-9a-f]{8}-[0-9a-f]{2}|vxlan-\d+")
"""Names given by the agents of an OpenStack on this machine, which is not Atoll's."""

_OF_THE_MACHINE = re.compile(
    r"virbr\d+(-nic)?|(sit|tunl|gre|gretap|erspan|ip6tnl|ip6gre|ip_vti|ip6_vti|dummy|bond|ifb)\d"
)
"""libvirt's own bridge, and interfaces that kernel modules make when they are loaded."""


def processes(state: Path) -> list[str]:
    """Processes that have the state directory in their command line."""
    return [line for line, command in _commands() if str(state) in command]


def _with_bridges() -> list[str]:
    """DHCP servers that the machine's libvirt runs on Atoll's bridges."""
    return [line for line, command in _commands() if BRIDGE.search(command)]


def _commands() -> Iterator[tuple[str, str]]:
    """A line for each process, and its complete command line."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield f"process {entry.name}: {command[:100]}", command


def interfaces() -> set[str]:
    """Names of all network interfaces."""
    shown = subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout
    return {link["ifname"] for link in json.loads(shown)}


def mounts(state: Path) -> list[str]:
    """Mounts below the state directory."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"mount {line.split()[4]}" for line in lines if line.split()[4].startswith(str(state))]


def files(state: Path) -> list[str]:
    """Files that a deployment without shares should not have."""
    return [
        f"file {path}"
        for path in state.rglob("*")
        if path.is_file()
        and str(path.relative_to(state)) not in EXPECTED_FILES
        and path.parent.relative_to(state).as_posix() not in EXPECTED_FOLDERS
    ]


class Before:
    """The state of the machine before a run, for a comparison afterwards."""

    def __init__(self) -> None:
        self._interfaces = interfaces()
        self._tables = Tables()
        self._with_bridges = set(_with_bridges())

    def leaks(self, state: Path) -> list[str]:
        """A line for everything that should not exist."""
        return [
            *dict.fromkeys([*processes(state), *self._new_with_bridges()]),
            *(f"interface {name}" for name in sorted(self._new_interfaces())),
            *Tables().new_since(self._tables),
            *mounts(state),
            *files(state),
        ]

    def _new_interfaces(self) -> set[str]:
        new = interfaces() - self._interfaces
        return {
            name
            for name in new
            if not _NEUTRONS.fullmatch(name) and not _OF_THE_MACHINE.fullmatch(name)
        }

    def _new_with_bridges(self) -> list[str]:
        return [line for line in _with_bridges() if line not in self._with_bridges]
