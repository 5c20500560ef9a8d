"""Access rules on the simulated cloud: one change, and a thousand rules."""

from __future__ import annotations

import time

from atoll.cloud.memory import MemoryCloud
from bench.deployment import BenchDeployment, deployment
from bench.number import Number

RULES = 1000


def run() -> list[Number]:
    """Measure 20 single changes; then a thousand rules at once on each of three shares."""
    with deployment() as atoll:
        network = atoll.share_network("rules")
        share = atoll.create(network)
        atoll.until(lambda: atoll.available() == 1)
        single = [one(atoll, share, f"10.1.0.{number}") for number in range(1, 21)]
        found = [thousand(atoll, network) for _ in range(3)]
    waits, calls = [wait for wait, _ in found], [count for _, count in found]
    return [
        Number("one rule, POST to active", single, "s", 1),
        Number("1,000 rules, last POST to all active", waits, "s", 5),
        Number("1,000 rules, calls of the guest agent", calls, "", None),
    ]


def one(atoll: BenchDeployment, share: str, address: str) -> float:
    """Seconds from the POST until the API shows that the rule is active."""
    begun = time.perf_counter()
    path = f"/share-access-rules/{atoll.allow(share, address)}"
    atoll.until(lambda: atoll.call("GET", path)["access"]["state"] == "active", pause=0)
    return time.perf_counter() - begun


def thousand(atoll: BenchDeployment, network: str) -> tuple[float, int]:
    """Seconds from the last POST until all rules are active, and the number of agent calls."""
    share = atoll.create(network)
    path = f"/shares/{share}"
    atoll.until(lambda: atoll.call("GET", path)["share"]["status"] == "available")
    cloud = MemoryCloud("look", path=atoll.state / "memory-cloud.sqlite")
    mark = cloud.journal.mark()
    atoll.many(lambda number: atoll.allow(share, f"10.2.{number // 250}.{number % 250 + 1}"), RULES)
    begun = time.perf_counter()
    listed = f"/share-access-rules?share_id={share}"

    def all_active() -> bool:
        states = [rule["state"] for rule in atoll.call("GET", listed)["access_list"]]
        return states == ["active"] * RULES

    atoll.until(all_active, pause=0.05)
    waited = time.perf_counter() - begun
    calls = cloud.journal.count("guest.*", since=mark)
    cloud.close()
    return waited, calls
