"""Rounds in which something bad happens to an instance while clients write and hold locks."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import harness
from harness.client_vm import ClientVm
from harness.wait import wait
from tests.system.deployment import LibvirtDeployment
from tests.system.events import Events

VERSIONS = ("4.2", "4.0", "3")
"""Of NFS. Each is mounted by itself, and is a client of its own to the server."""
SMB = "SMB"
"""By version 3.1.1."""
SETTLED_SECONDS = 15.0
"""How long writers go on after the share is served again."""
HEALED_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Round:
    """What one round has shown. Times are in seconds, by version of NFS, and by SMB."""

    event: str
    has_stand_in: bool
    """Whether a warm instance was ready to take the place of the lost one."""
    outage: dict[str, float]
    """The longest wait of the writer."""
    errors: dict[str, str]
    lost: dict[str, int]
    """Acknowledged blocks that are not there any more."""
    granted: list[str]
    """Versions of NFS whose lock another client was granted as well."""
    is_replaced: bool
    is_rebooted: bool
    others: int = 0
    """How many more shares the instance served."""

    @property
    def faults(self) -> dict[str, Any]:
        """What must not happen in any round; empty if nothing did."""
        found = {
            "errors": {way: text for way, text in self.errors.items() if text},
            "lost": {way: count for way, count in self.lost.items() if count},
            "granted": self.granted,
        }
        return {name: value for name, value in found.items() if value}


class Chaos:
    """A share that one client has mounted by each version of NFS."""

    def __init__(
        self,
        deployment: LibvirtDeployment,
        client: ClientVm,
        *,
        others: int = 0,
        by_smb: bool = False,
    ) -> None:
        """``others`` is the number of shares on the instance that nobody uses.

        ``by_smb`` adds a share that is mounted by SMB.
        """
        self._deployment = deployment
        self._client = client
        self._others = [deployment.share(f"other {number}") for number in range(others)]
        self._ways = (*VERSIONS, SMB) if by_smb else VERSIONS
        self._shares = {
            protocol: deployment.available(deployment.share(protocol, share_protocol=protocol))
            for protocol in (("NFS", "CIFS") if by_smb else ("NFS",))
        }
        self.events = Events(deployment, self._shares["NFS"])

    def prepare(self) -> None:
        """Mount the shares."""
        folder = Path(harness.__file__).parent
        for name in ("writer.py", "try_lock.py"):
            self._client.put(folder / name, f"/tmp/{name}")
        for share in self._shares.values():
            self._deployment.allow(share, self._client.address())
        export = self._deployment.export(self._shares["NFS"])
        for version in VERSIONS:
            self._client.mount(export, _place(version), version=version)
        for share in self._others:
            self._deployment.available(share)
            self._deployment.allow(share, self._client.address())
        if SMB in self._ways:
            self._client.mount_smb(self._deployment.export(self._shares["CIFS"]), _place(SMB))

    def round(self, event: str) -> Round:
        """Let the event happen while clients write; return what they have seen."""
        before, has_stand_in = self.events.instance(), bool(self._deployment.warm_servers())
        self._start_writers()
        self.events.let_happen(event)
        wait("the share to be served", self._is_served, HEALED_SECONDS)
        granted = self._granted()
        time.sleep(SETTLED_SECONDS)
        reports = self._stop_writers()
        after = self.events.instance()
        return Round(
            event,
            has_stand_in,
            {way: report["longest"] for way, report in reports.items()},
            {way: report["last"] for way, report in reports.items()},
            {way: report["lost"] for way, report in reports.items()},
            granted,
            is_replaced=after[0] != before[0],
            is_rebooted=after != before,
            others=len(self._others),
        )

    # --- looking ----------------------------------------------------------------------------

    def _is_served(self) -> bool:
        """Whether the client writes, by each version."""
        before = self._progress()
        time.sleep(1)
        after = self._progress()
        return all(after[way] > before[way] for way in self._ways)

    def _progress(self) -> dict[str, int]:
        files = " ".join(_progress_file(way) for way in self._ways)
        counts = self._client.run(
            f"for file in {files}; do cat $file || echo 0; echo; done"
        ).split()
        return dict(zip(self._ways, map(int, counts), strict=True))

    def _start_writers(self) -> None:
        self._client.run("rm -f /tmp/stop")
        for way in self._ways:
            self._client.run(
                f"nohup python3 /tmp/writer.py {_file(way)} /tmp/stop lock"
                f" {_progress_file(way)} > {_report_file(way)} 2>&1 &"
            )
        wait("the writers", self._is_served, 60)

    def _stop_writers(self) -> dict[str, dict[str, Any]]:
        end = "touch /tmp/stop; while pgrep -f '[w]riter.py' > /dev/null; do sleep 1; done"
        self._client.run(end, seconds=240)
        return {way: json.loads(self._client.run(f"cat {_report_file(way)}")) for way in self._ways}

    def _granted(self) -> list[str]:
        """The versions whose locks another client is granted, too."""
        # Each lock is asked for by another version, so by another client.
        asked = {
            version: _file(version, by="4.2" if version == "3" else "3") for version in VERSIONS
        }
        command = f"timeout 100 python3 /tmp/try_lock.py {' '.join(asked.values())}"
        answers = self._client.run(command).split()
        return [
            version for version, answer in zip(asked, answers, strict=True) if answer != "refused"
        ]


def _place(way: str) -> str:
    return f"/mnt/by{way}"


def _file(way: str, *, by: str = "") -> str:
    return f"{_place(by or way)}/written-by-{way}"


def _progress_file(way: str) -> str:
    return f"/tmp/progress-{way}"


def _report_file(way: str) -> str:
    return f"/tmp/report-{way}.json"


def as_json(rounds: list[Round]) -> str:
    """The rounds, one a line."""
    return "".join(json.dumps(asdict(each)) + "\n" for each in rounds)
