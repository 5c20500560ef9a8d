"""Everything of one deployment that is on this machine, found by looking at the machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from atoll.cloud import nftables
from atoll.cloud.local import firewall
from atoll.cloud.local.bridge import Bridges, bridge_prefix
from atoll.cloud.local.domains import Domains


class Audit:
    """Looks at libvirt, processes, the firewall and the files, and does not rely on records."""

    def __init__(
        self, directory: Path, deployment: str, domains: Domains, bridges: Bridges
    ) -> None:
        self._directory = directory
        self._deployment = deployment
        self._domains = domains
        self._bridges = bridges

    def lines(self) -> list[str]:
        """One line for each thing that is there. An empty list means that nothing is left."""
        lines = [f"instance {i} of {owner}" for i, owner in self._domains.tagged().items()]
        lines += [f"network {name}" for name in self._bridges.tagged()]
        lines += [f"interface {name}" for name in self._interfaces()]
        if firewall.present(self._deployment):
            lines.append(f"firewall table {nftables.table(self._deployment)}")
        lines += [f"process {pid}: {words}" for pid, words in self._processes()]
        lines += [f"file {path}" for path in self._files()]
        return lines

    def sweep(self) -> None:
        """Remove what is left after everything that has a record was deleted."""
        for instance_id in self._domains.tagged():
            self._domains.stop(instance_id)
            self._domains.remove(instance_id)
        for name in self._bridges.tagged():
            self._bridges.remove_named(name)
        firewall.remove(self._deployment)
        for entry in self._directory.glob("*/*"):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def _interfaces(self) -> list[str]:
        prefix = bridge_prefix(self._deployment)
        return [path.name for path in Path("/sys/class/net").glob(f"{prefix}*")]

    def _processes(self) -> list[tuple[int, str]]:
        """Processes that have a file or bridge of this deployment in their arguments."""
        signs = (f"{self._directory}/", f"/{bridge_prefix(self._deployment)}")
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except (OSError, UnicodeDecodeError):
                    continue
                if any(sign in words for sign in signs):
                    found.append((int(entry.name), words[:120]))
        return found

    def _files(self) -> list[Path]:
        """Files except the images, which are a cache."""
        images = self._directory / "images"
        paths = sorted(self._directory.rglob("*"))
        return [path for path in paths if path.is_file() and images not in path.parents]
