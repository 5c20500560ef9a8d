"""Outages that clients saw in the rounds of ``make test-chaos``, from their results.

The results are in ``chaos.jsonl``, or where ``ATOLL_CHAOS_RESULTS`` says; each run adds to them.
A sample is what one writer, by one version of NFS or by SMB, waited at most in one round.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from bench.number import Number

AT_MOST = {
    ("kill", True): 20,
    ("kill", False): 32,
    ("freeze", True): 30,
    ("freeze", False): 42,
    ("lose", True): 22,
    ("lose", False): 32,
    ("upgrade", False): 12,
    ("upgrade", True): 12,
}
"""Seconds that 95 of 100 outages of NFS are to take at most, by event and with a warm instance."""
MORE_FOR_OTHERS = 5
"""How many seconds more they may take if the instance serves many shares."""


class Kind(NamedTuple):
    """Outages that are looked at together."""

    event: str
    is_warm: bool
    """Whether a warm instance was ready to take the place of the lost one."""
    others: int
    """How many more shares the instance served."""
    protocol: str


def run() -> list[Number]:
    """Group the results. Raises ``FileNotFoundError`` where there are none."""
    results = Path(os.environ.get("ATOLL_CHAOS_RESULTS", "chaos.jsonl"))
    samples: dict[Kind, list[float]] = defaultdict(list)
    faults: dict[Kind, int] = defaultdict(int)
    for line in results.read_text().splitlines():
        seen = json.loads(line)
        for way, seconds in seen["outage"].items():
            protocol = "SMB" if way == "SMB" else "NFS"
            kind = Kind(seen["event"], seen["has_stand_in"], seen.get("others", 0), protocol)
            samples[kind].append(seconds)
            is_granted = way in seen["granted"]
            faults[kind] += bool(seen["errors"][way] or seen["lost"][way] or is_granted)
    return [_number(kind, sorted(samples[kind]), faults[kind]) for kind in sorted(samples)]


def _number(kind: Kind, waits: list[float], faults: int) -> Number:
    highest = waits[min(len(waits) - 1, round(0.95 * len(waits)))]
    at_most = AT_MOST.get((kind.event, kind.is_warm)) if kind.protocol == "NFS" else None
    note = f"p95 {highest:.1f} s"
    if at_most:
        note += f", target {at_most + (MORE_FOR_OTHERS if kind.others else 0)} s"
    note += f"; {len(waits)} writers, {faults} with a fault"
    name = f"{kind.event}, {kind.protocol}" + (", warm" if kind.is_warm else "")
    name += f", {kind.others} more shares" if kind.others else ""
    return Number(name, waits, "s", note=note)
