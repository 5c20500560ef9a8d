"""Threads that must go on as long as the worker does, whatever they meet on the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from atoll.cloud.memory import MemoryCloud
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.guard import Guard
from atoll.lifecycle.heartbeat import Heartbeat
from atoll.lifecycle.seal import open_seal
from harness.memory_deployment import MemoryDeployment
from harness.wait import wait


class OddCloud(MemoryCloud):
    """Its firewall answers what nobody has foreseen."""

    looks = 0

    def tend(self, *, wholly: bool = False) -> list[str]:
        self.looks += 1
        raise KeyError("nftables")


def until(seen: Callable[[], bool]) -> None:
    wait("the thread's next look", seen, 60)


def test_the_guard_looks_again_after_an_error_that_nobody_has_foreseen(tmp_path: Path) -> None:
    cloud = OddCloud("odd", path=tmp_path / "cloud.sqlite")
    guard = Guard(cloud, interval=0.01)
    guard.start()
    until(lambda: cloud.looks > 2)
    guard.stop()
    cloud.close()


def test_pools_are_seen_again_after_an_answer_that_nobody_has_foreseen(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    deployment = new_deployment()
    seal = open_seal(deployment.settings.secret_key, deployment.database)
    backend = Backend(deployment.settings, deployment.database, deployment.cloud, seal)

    def capacity(value: object) -> None:
        with closing(
            sqlite3.connect(deployment.settings.state_dir / "memory-cloud.sqlite")
        ) as world:
            world.execute("UPDATE capacity SET value = ? WHERE name = 'volumes_gib'", (value,))
            world.commit()

    capacity("much")
    heartbeat = Heartbeat(backend, interval=0.05)
    heartbeat.start()
    until(lambda: bool(deployment.call("GET", "/services")["services"]))
    capacity(1000)
    until(lambda: bool(deployment.call("GET", "/scheduler-stats/pools")["pools"]))
    heartbeat.stop()
