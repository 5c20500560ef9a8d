"""Memory of all processes of ``atoll serve``, with 1,000 shares and after full lists."""

from __future__ import annotations

from bench.deployment import CLIENTS, BenchDeployment, deployment
from bench.number import Number

SHARES, NETWORKS, LISTS = 1000, 50, 20
MIB = 2**20


def run() -> list[Number]:
    """Measure after the start, with the shares, and after full lists, one by one and at once."""
    with deployment() as atoll:
        numbers = [summed("fresh", atoll)]
        atoll.fill(NETWORKS, SHARES)
        numbers.append(summed("1,000 shares made", atoll))
        for _ in range(LISTS):
            atoll.send("GET", "/shares/detail")
        numbers.append(summed("and full lists read", atoll, at_most=150))
        numbers += [single(role, atoll) for role in atoll.processes()]
        atoll.many(lambda _: atoll.send("GET", "/shares/detail"), LISTS * CLIENTS)
        numbers.append(summed(f"and {CLIENTS} full lists at once", atoll))
    return numbers


def summed(when: str, atoll: BenchDeployment, at_most: float | None = None) -> Number:
    """The resident memory of all processes."""
    infos = [process.memory_full_info() for process in atoll.processes().values()]
    rss, pss = (sum(getattr(info, kind) for info in infos) / MIB for kind in ("rss", "pss"))
    return Number(f"all processes, {when}", [rss], "MiB", at_most, f"PSS {pss:.0f} MiB")


def single(role: str, atoll: BenchDeployment) -> Number:
    """The resident memory of one process."""
    info = atoll.processes()[role].memory_full_info()
    return Number(f"  {role}", [info.rss / MIB], "MiB", None, f"PSS {info.pss / MIB:.0f} MiB")
