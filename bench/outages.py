"""Outages that clients saw in the rounds of ``make test-chaos``, from their results.

The results are in ``chaos.jsonl``, or where ``ATOLL_CHAOS_RESULTS`` says; each run adds to them.
A sample is what one writer, with one version of NFS, waited at most in one round.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

from bench.number import Number

AT_MOST = {
    ("kill", True): 20,
    ("kill", False): 32,
    ("freeze", True): 30,
    ("freeze", False): 42,
    ("lose", True): 22,
    ("lose", False): 32,
    ("upgrade", False): 12,
}
"""Seconds that 95 of 100 outages are to take at most, by event and whether an instance was warm."""


def run() -> list[Number]:
    """Group the results. Raises ``FileNotFoundError`` where there are none."""
    results = Path(os.environ.get("ATOLL_CHAOS_RESULTS", "chaos.jsonl"))
    samples: dict[tuple[str, bool], list[float]] = defaultdict(list)
    faults: dict[tuple[str, bool], int] = defaultdict(int)
    for line in results.read_text().splitlines():
        seen = json.loads(line)
        kind = seen["event"], seen["has_stand_in"]
        samples[kind] += seen["outage"].values()
        errors, lost = any(seen["errors"].values()), any(seen["lost"].values())
        faults[kind] += bool(errors or lost or seen["granted"])
    return [_number(kind, sorted(samples[kind]), faults[kind]) for kind in sorted(samples)]


def _number(kind: tuple[str, bool], waits: list[float], faults: int) -> Number:
    event, is_warm = kind
    highest = waits[min(len(waits) - 1, round(0.95 * len(waits)))]
    at_most = AT_MOST.get(kind)
    note = f"p95 {highest:.1f} s" + (f", target {at_most} s" if at_most else "")
    note += f"; rounds with a fault: {faults}"
    return Number(event + (", warm" if is_warm else ""), waits, "s", note=note)
