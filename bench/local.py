"""Shares on this machine with virtual machines; needs root, and an otherwise idle machine.

A round boots the bare service image, and then lets ``atoll serve`` make the first share of a new
share network. Both are in one run, so that their ratio is valid on any machine. Then the next
shares are measured step by step (from the worker's log), and access rules.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

from atoll.cli.image import build
from atoll.cli.progress import make_console
from atoll.config import load
from atoll.errors import ConfigurationError
from bench.bare import BareVm
from bench.create import one as one_share
from bench.deployment import BenchDeployment, on_a_real_cloud
from bench.number import Number
from bench.rules import RULES
from bench.rules import one as one_rule

ROUNDS, NEXT, CHANGES = 3, 5, 5
LOOK = 0.02
"""Seconds between two polls of a share; constant polling would use a processor."""
CONFIG = """\
cloud = "local"
[quota]
shares = -1
share_networks = -1
[log]
format = "json"
"""


def run() -> list[Number]:
    """Run rounds of a bare boot and a first share; the last round has the other measurements."""
    if os.geteuid() != 0:
        raise ConfigurationError("This benchmark runs virtual machines: run it as root.", hint="")
    image = build(load(), make_console(stderr=True)).path
    bare: list[tuple[float, float]] = []
    first: list[tuple[float, float]] = []
    rest: list[Number] = []
    for number in range(ROUNDS):
        with place() as directory:
            bare.append(BareVm(directory, image).boot())
            with on_a_real_cloud(BenchDeployment(directory / "service", config=CONFIG)) as atoll:
                network = atoll.share_network("bench")
                first.append((one_share(atoll, network, LOOK), guest_cpu(atoll)))
                if number == ROUNDS - 1:
                    rest = [*next_shares(atoll, network), *rules(atoll, network)]
    load_average = os.getloadavg()[0]
    return [*boots(bare, first), *rest, Number("load average at the end", [load_average], "")]


def boots(bare: list[tuple[float, float]], first: list[tuple[float, float]]) -> list[Number]:
    """Compare the bare boots with the first shares."""
    ratios = [share[0] / boot[0] for boot, share in zip(bare, first, strict=True)]
    cpus = [share[1] / boot[1] for boot, share in zip(bare, first, strict=True)]
    return [
        Number("bare boot to SSH login", [seconds for seconds, _ in bare], "s"),
        Number("first share, POST to available", [seconds for seconds, _ in first], "s"),
        Number("first share / bare boot", ratios, "x", 1.25),
        Number("the same in CPU of QEMU", cpus, "x"),
        Number("bare boot, CPU of QEMU", [cpu for _, cpu in bare], "s CPU"),
        Number("boot to a served NFS export, CPU of QEMU", [cpu for _, cpu in first], "s CPU", 20),
    ]


def next_shares(atoll: BenchDeployment, network: str) -> list[Number]:
    """More shares on a running instance, and the time of each of their steps."""
    mark = atoll.log.stat().st_size
    total = [one_share(atoll, network, LOOK) for _ in range(NEXT)]
    steps = steps_of(atoll.log, mark)
    return [
        Number("next share, POST to available", total, "s", 3),
        *(Number(f"  {step}", seconds, "s") for step, seconds in steps.items()),
        Number("  everything else", [median(total) - sum_of(steps)], "s"),
    ]


def steps_of(log: Path, mark: int) -> dict[str, list[float]]:
    """Seconds of the steps that the worker has logged since the log had ``mark`` bytes."""
    steps: dict[str, list[float]] = {}
    for line in log.read_bytes()[mark:].splitlines():
        if not line.startswith(b"{"):
            continue
        entry = json.loads(line)
        if entry["event"] in ("volume_created", "volume_attaching", "share_applied"):
            steps.setdefault(entry["event"], []).append(entry["seconds"])
            for step, seconds in entry.get("steps", {}).items():
                steps.setdefault(f"  {step}", []).append(seconds)
    return steps


def sum_of(steps: dict[str, list[float]]) -> float:
    """The sum of the steps' seconds, without steps inside the instance."""
    return sum(median(seconds) for step, seconds in steps.items() if not step.startswith(" "))


def rules(atoll: BenchDeployment, network: str) -> list[Number]:
    """Measure single rules, then a thousand rules."""
    share = atoll.create(network)
    path, listed = f"/shares/{share}", f"/share-access-rules?share_id={share}"
    atoll.until(lambda: atoll.call("GET", path)["share"]["status"] == "available")
    single = [one_rule(atoll, share, f"10.200.0.{number + 1}") for number in range(CHANGES)]
    atoll.many(lambda number: atoll.allow(share, f"10.201.{number // 250}.{number % 250}"), RULES)
    begun = time.perf_counter()

    def all_active() -> bool:
        rules = atoll.call("GET", listed)["access_list"]
        return [rule["state"] for rule in rules] == ["active"] * (RULES + CHANGES)

    atoll.until(all_active, pause=0.05)
    waited = time.perf_counter() - begun
    return [
        Number("one rule, POST to active", single, "s", 1),
        Number("1,000 rules, last POST to all active", [waited], "s", 5),
    ]


def guest_cpu(atoll: BenchDeployment) -> float:
    """CPU seconds that the service instance's QEMU has used."""
    found = [
        process.cpu_times()
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"].startswith("qemu-system")
        and any(str(atoll.state) in word for word in process.info["cmdline"])
    ]
    [times] = found
    return float(times.user + times.system)


@contextmanager
def place() -> Iterator[Path]:
    """A directory for disks, which is not below /tmp, because that may be in memory."""
    directory = Path(tempfile.mkdtemp(prefix="atoll-bench-", dir="/var/tmp"))
    directory.chmod(0o711)  # QEMU runs as its own user
    yield directory
    shutil.rmtree(directory)  # only after success, because logs are needed after a failure
