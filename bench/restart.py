"""The restart of ``atoll serve`` with 1,000 shares, until the API answers."""

from __future__ import annotations

import threading
import time
from http.client import HTTPException

from bench.deployment import BenchDeployment, deployment
from bench.number import Number

SHARES, NETWORKS, TIMES = 1000, 50, 5


def run() -> list[Number]:
    """Stop and start it several times."""
    with deployment() as atoll:
        atoll.fill(NETWORKS, SHARES)
        found = []
        for _ in range(TIMES):
            atoll.stop()
            found.append(restart(atoll))
    answers, lives, cpus = zip(*found, strict=True)
    return [
        Number("start until the API lists shares", answers, "s", 3),
        Number("start until a worker lives too", lives, "s", None),
        Number("CPU of all processes until then", cpus, "s", None),
    ]


def restart(atoll: BenchDeployment) -> tuple[float, float, float]:
    """Seconds until the API answers, and until all is healthy; CPU seconds until then."""
    answered: list[float] = []
    begun = time.perf_counter()

    def ask() -> None:
        while not answered:
            try:
                atoll.send("GET", "/shares?limit=1")
            except (OSError, HTTPException):
                time.sleep(0.01)
            else:
                answered.append(time.perf_counter() - begun)

    asking = threading.Thread(target=ask)
    asking.start()
    atoll.start()
    healthy = time.perf_counter() - begun
    asking.join()
    return answered[0], healthy, sum(atoll.cpu(role) for role in atoll.processes())
