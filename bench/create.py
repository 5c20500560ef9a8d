"""Creation of one, a hundred and a thousand shares on the simulated cloud; a reconcile pass."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

from bench.deployment import BenchDeployment, deployment
from bench.number import Number

SHARES, NETWORKS, BURSTS = 1000, 50, 8


def run() -> list[Number]:
    """Run all measurements."""
    with deployment() as atoll:
        network = atoll.share_network("idle")
        one(atoll, network)  # makes the share server
        idle = [one(atoll, network) * 1000 for _ in range(20)]
        before = atoll.cpu("api") + atoll.cpu("worker")
        bursts = [burst(atoll, number) for number in range(BURSTS)]
        cpu = (atoll.cpu("api") + atoll.cpu("worker") - before) / BURSTS
    note = f"CPU: {cpu:.1f} s in two processes"
    return [
        Number("one share, POST to available", idle, "ms", 40),
        Number("100 shares at once, first POST to last available", bursts, "s", 2, note),
        *thousand(),
    ]


def one(atoll: BenchDeployment, network: str, pause: float = 0) -> float:
    """Seconds from the POST until the API shows that the share is available."""
    begun = time.perf_counter()
    share = atoll.create(network)
    path = f"/shares/{share}"
    atoll.until(lambda: atoll.call("GET", path)["share"]["status"] == "available", pause=pause)
    return time.perf_counter() - begun


def burst(atoll: BenchDeployment, number: int) -> float:
    """Seconds from the first of 100 POSTs until the last share is available."""
    networks = [atoll.share_network(f"burst {number}.{each}") for each in range(5)]
    before = atoll.available()
    begun = time.perf_counter()
    atoll.many(lambda each: atoll.create(networks[each % 5]), 100)
    atoll.until(lambda: atoll.available() == before + 100, pause=0.05)
    return time.perf_counter() - begun


def thousand() -> list[Number]:
    """Create 1,000 shares on 50 share networks with one worker; then run reconcile passes."""
    with deployment() as atoll:
        begun = time.perf_counter()
        atoll.fill(NETWORKS, SHARES)
        seconds = time.perf_counter() - begun
        cpu = {role: atoll.cpu(role) for role in ("api", "worker")}
        passes = [reconcile(atoll) for _ in range(5)]
    note = f"CPU: API {cpu['api']:.1f} s, worker {cpu['worker']:.1f} s"
    return [
        Number("1,000 shares on 50 networks", [seconds], "s", None, note),
        Number("a reconcile pass over them, worker's CPU", passes, "s", 2),
    ]


def reconcile(atoll: BenchDeployment) -> float:
    """CPU seconds of the worker process for one pass."""
    before, finished = atoll.cpu("worker"), passes_finished(atoll)
    atoll.run("operation", "retry", "reconcile/all")
    atoll.until(lambda: passes_finished(atoll) > finished, pause=0.05)
    return atoll.cpu("worker") - before


def passes_finished(atoll: BenchDeployment) -> int:
    """The fence of the last pass that has ended and is scheduled again."""
    query = (
        "SELECT max(fence) FROM operations"
        " WHERE resource = 'reconcile/all' AND status = 'queued' AND not_before > ?"
    )
    with closing(sqlite3.connect(atoll.state / "atoll.sqlite")) as database:
        [(fence,)] = database.execute(query, [time.time()])
    return fence or 0
