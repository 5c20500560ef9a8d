"""Looks for what a run has left on the machine: processes, interfaces, firewall tables, files."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

EXPECTED_FILES = {
    "admin.token",
    "atoll.toml",
    "atoll.sqlite",
    "atoll.sqlite-shm",
    "atoll.sqlite-wal",
    "ready.txt",
    "secret.key",
    "serve.log",
}
"""What a deployment without shares keeps: its database, its keys, its log."""


_NEUTRONS = re.compile(r"(brq|tap|qvo|qvb|qbr|qr-|qg-|ns-|sg-)[0-9a-f]{8}-[0-9a-f]{2}|vxlan-\d+")
"""Names that the agents of an OpenStack on this machine give, which comes and goes as it likes."""


def processes(state: Path) -> list[str]:
    """Processes that have the state directory in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(state) in command:
            found.append(f"process {entry.name}: {command[:100]}")
    return found


def interfaces() -> set[str]:
    """Names of all network interfaces."""
    shown = subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout
    return {link["ifname"] for link in json.loads(shown)}


def tables() -> set[str]:
    """Names of all nftables tables."""
    shown = subprocess.run(["nft", "-j", "list", "tables"], check=False, capture_output=True)
    if shown.returncode:
        return set()
    listed = json.loads(shown.stdout)["nftables"]
    return {f"{t['table']['family']} {t['table']['name']}" for t in listed if "table" in t}


def mounts(state: Path) -> list[str]:
    """Mounts below the state directory."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"mount {line.split()[4]}" for line in lines if line.split()[4].startswith(str(state))]


def files(state: Path) -> list[str]:
    """Files that a deployment without shares should not have."""
    return [
        f"file {path}"
        for path in state.rglob("*")
        if path.is_file() and str(path.relative_to(state)) not in EXPECTED_FILES
    ]


class Before:
    """The machine before a run, to compare with afterwards."""

    def __init__(self) -> None:
        self._interfaces = interfaces()
        self._tables = tables()

    def leaks(self, state: Path) -> list[str]:
        """Everything that is there now and should not be."""
        return [
            *processes(state),
            *(f"interface {name}" for name in sorted(self._new_interfaces())),
            *(f"firewall table {name}" for name in sorted(tables() - self._tables)),
            *mounts(state),
            *files(state),
        ]

    def _new_interfaces(self) -> set[str]:
        new = interfaces() - self._interfaces
        return {name for name in new if not _NEUTRONS.fullmatch(name)}
