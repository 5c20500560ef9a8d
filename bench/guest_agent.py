"""Measures the guest agent's verbs in a real (emulated) service instance.

    uv run python -m bench.guest_agent

Wall times are medians of a few runs. The CPU seconds of the instance show how much a busy machine
has added. ``ATOLL_TEST_IMAGE`` names the service image; otherwise the machine's own is used.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from atoll.guest.base import AppliedShare, ExportRule, FileSystem, Freeze, WantedShare
from atoll.guest.channel import SshGuest
from harness.service_vm import ServiceVm, service_image

GIB = 1 << 30


class Bench:
    """One instance, in which the measurements are made."""

    def __init__(self, machine: ServiceVm) -> None:
        self.machine = machine
        self.guest: SshGuest = machine.open()

    def cpu(self) -> float:
        """CPU seconds that the instance's process has used."""
        fields = Path(f"/proc/{self.machine.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def measure(self, what: str, call: Callable[[], Any], times: int = 1) -> Any:
        """Measure ``call`` and print its time."""
        walls, answer, before = [], None, self.cpu()
        for _ in range(times):
            start = time.monotonic()
            answer = call()
            walls.append(time.monotonic() - start)
        wall, cpu = statistics.median(walls), (self.cpu() - before) / times
        steps = ""
        if isinstance(answer, AppliedShare):
            steps = ", ".join(f"{step} {1000 * took:.0f}" for step, took in answer.steps.items())
        print(f"{what:34} {1000 * wall:7.0f} ms {cpu:6.2f} CPU-s   {steps}", flush=True)
        return answer

    def share(self, kind: FileSystem) -> WantedShare:
        """A share on a new disk of 1 GiB, which is attached to the instance."""
        serial = str(uuid4())
        self.machine.disk(serial)
        time.sleep(2)
        rule = ExportRule("ip", "10.0.0.1", "rw")
        path = f"/shares/{serial}"
        return WantedShare(serial, serial, kind, True, path, "NFS", serial, (rule,))

    def run(self) -> None:
        """Run all measurements once."""
        self.measure("round trip (health, no shares)", self.guest.health, 20)
        self.new("ext4", 1)
        for number in (2, 3):
            self.existing(self.new("ext4", number))
        self.new("xfs", 1)
        self.existing(self.new("xfs", 2))

    def new(self, kind: FileSystem, number: int) -> WantedShare:
        """Measure the first serving of a share. The first of a kind also loads its programs."""
        share = self.share(kind)
        self.measure(
            f"new 1 GiB {kind} share, no. {number}", lambda: self.guest.apply_share(share, fence=1)
        )
        return share

    def existing(self, share: WantedShare) -> None:
        """Measure the verbs for an existing share."""
        guest, kind = self.guest, share.file_system
        self.measure(f"{kind}: nothing to do", lambda: guest.apply_share(share, fence=1), 5)
        one_more = (*(share.rules or ()), ExportRule("ip", "10.0.0.2", "ro"))
        share = replace(share, rules=one_more)
        self.measure(f"{kind}: one rule more", lambda: guest.apply_share(share, fence=1))
        many = tuple(ExportRule("ip", f"10.1.{n // 250}.{n % 250}", "rw") for n in range(1000))
        share = replace(share, rules=many)
        self.measure(f"{kind}: 1,000 rules", lambda: guest.apply_share(share, fence=1))
        share = replace(share, rules=one_more)
        self.measure(f"{kind}: back to 2 rules", lambda: guest.apply_share(share, fence=1))
        freeze = Freeze("bench")
        self.measure(
            f"{kind}: freeze",
            lambda: guest.freeze_share(share.share_id, share.path, freeze, seconds=60),
        )
        serial = str(uuid4())
        copy = self.machine.folder / f"{serial}.raw"
        shutil.copyfile(self.machine.folder / f"{share.serial}.raw", copy)
        self.measure(f"{kind}: thaw", lambda: guest.thaw_share(share.share_id, share.path, freeze))
        os.truncate(copy, 2 * GIB)
        self.machine.plug(serial, copy)
        time.sleep(2)
        clone = replace(
            share, share_id=serial, serial=serial, fsid=serial, path=f"/shares/{serial}"
        )
        clone = replace(clone, may_format=False)
        self.measure(f"{kind}: larger clone", lambda: guest.apply_share(clone, fence=1))
        self.machine.resize(share.serial, 2)
        self.measure(f"{kind}: grow", lambda: guest.apply_share(share, fence=1))
        remove = guest.remove_share
        self.measure(f"{kind}: remove", lambda: remove(share.share_id, share.path, fence=2))


def main() -> None:
    """Boot an instance, measure, and end it."""
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as folder:
        machine = ServiceVm(Path(folder), service_image())
        machine.start()
        try:
            start = time.monotonic()
            bench = Bench(machine)
            print(f"boot to the agent's first message {time.monotonic() - start:.1f} s", end=", ")
            print(f"{bench.cpu():.1f} CPU-s; load {os.getloadavg()[0]:.1f}")
            bench.guest.close()
            start, before = time.monotonic(), bench.cpu()
            bench.guest = machine.open()
            took = 1000 * (time.monotonic() - start)
            print(f"{'connect again':34} {took:7.0f} ms {bench.cpu() - before:6.2f} CPU-s")
            bench.run()
        finally:
            machine.kill()


if __name__ == "__main__":
    main()
