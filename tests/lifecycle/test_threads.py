"""Threads that must go on as long as the worker does, whatever they meet on the way."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from atoll.cloud.memory import MemoryCloud
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.guard import Guard
from atoll.lifecycle.heartbeat import Heartbeat
from atoll.lifecycle.storage import Seal
from tests.lifecycle.house import House


class OddCloud(MemoryCloud):
    """Its firewall answers what nobody has foreseen."""

    looks = 0

    def tend(self, *, wholly: bool = False) -> list[str]:
        self.looks += 1
        raise KeyError("nftables")


def until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_guard_looks_again_after_an_error_that_nobody_has_foreseen(tmp_path: Path) -> None:
    cloud = OddCloud("odd", path=tmp_path / "cloud.sqlite")
    guard = Guard(cloud, interval=0.01)
    guard.start()
    until(lambda: cloud.looks > 2)
    guard.stop()
    cloud.close()


def test_pools_are_seen_again_after_an_answer_that_nobody_has_foreseen(
    new_house: Callable[..., House],
) -> None:
    house = new_house()
    key = house.settings.state_dir / "secret.key"
    backend = Backend(house.settings, house.database, house.cloud, Seal.from_file(key))

    def capacity(value: object) -> None:
        with closing(sqlite3.connect(house.settings.state_dir / "memory-cloud.sqlite")) as world:
            world.execute("UPDATE capacity SET value = ? WHERE name = 'volumes_gib'", (value,))
            world.commit()

    capacity("much")
    heartbeat = Heartbeat(backend, interval=0.05)
    heartbeat.start()
    until(lambda: bool(house.call("GET", "/services")["services"]))
    capacity(1000)
    until(lambda: bool(house.call("GET", "/scheduler-stats/pools")["pools"]))
    heartbeat.stop()
