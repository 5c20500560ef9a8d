"""A world shared by processes: it outlives kill -9, and faults reach whoever makes the call."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from atoll.cloud.memory import MemoryCloud
from atoll.cloud.memory.faults import When
from atoll.guest.base import Freeze
from harness.wait import wait

from .site import nfs, owner, running_site

SPAWN = multiprocessing.get_context("spawn")


def make_volumes(path: Path, first: int, count: int) -> None:
    cloud = MemoryCloud("test", path=path)
    for number in range(first, first + count):
        cloud.volumes.create_volume(f"share/{number}", 1)
        cloud.volumes.extend_volume(cloud.volumes.list_volumes()[0].id, 2)


def freeze_and_wait(path: Path) -> None:
    cloud = MemoryCloud("test", path=path)
    with running_site(cloud) as site:
        wanted = nfs("s1", site.attached_volume(), "10.0.0.1")
        guest = site.open_guest()
        guest.apply_share(wanted, fence=1)
        freeze = Freeze("snapshot/one")
        guest.freeze_share(wanted.share_id, wanted.path, freeze, seconds=600)
        time.sleep(600)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "world.sqlite"


@pytest.fixture
def cloud(path: Path) -> Iterator[MemoryCloud]:
    made = MemoryCloud("test", path=path)
    yield made
    made.close()


def start(target: object, *arguments: object) -> SpawnProcess:
    process = SPAWN.Process(target=target, args=arguments)  # type: ignore[arg-type]
    process.start()
    return process


@pytest.mark.parametrize(("when", "made"), [("before", 2), ("after", 3)])
def test_a_worker_is_killed_at_the_nth_call(
    cloud: MemoryCloud, path: Path, when: When, made: int
) -> None:
    cloud.faults.kill("create_volume", nth=3, when=when)
    worker = start(make_volumes, path, 0, 10)
    worker.join(30)
    assert worker.exitcode == -signal.SIGKILL
    assert len(cloud.volumes.list_volumes()) == made
    last = cloud.journal.calls("create_*")[-1]
    assert (last.about.split()[0], last.pid) == ("share/2", worker.pid)
    cloud.faults.clear()
    make_volumes(path, 0, 10)
    assert len(cloud.volumes.list_volumes()) == 10


def test_every_call_is_a_point_to_kill_at(cloud: MemoryCloud, path: Path) -> None:
    make_volumes(path, 0, 1)
    calls = [call.name for call in cloud.journal.calls()]
    assert calls == ["volumes.create_volume", "volumes.list_volumes", "volumes.extend_volume"]
    mark = cloud.journal.mark()
    cloud.faults.kill("*", nth=2)
    worker = start(make_volumes, path, 0, 1)
    worker.join(30)
    assert worker.exitcode == -signal.SIGKILL
    assert [call.name for call in cloud.journal.calls(since=mark)] == calls[:2]


def test_a_worker_is_frozen_and_wakes(cloud: MemoryCloud, path: Path) -> None:
    cloud.faults.freeze("create_volume", nth=2, when="before")
    worker = start(make_volumes, path, 0, 2)
    assert worker.pid is not None
    _, status = os.waitpid(worker.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    cloud.volumes.create_volume("share/1", 1)
    os.kill(worker.pid, signal.SIGCONT)
    worker.join(30)
    assert worker.exitcode == 0
    assert len(cloud.volumes.list_volumes()) == 2


def test_processes_work_at_once(cloud: MemoryCloud, path: Path) -> None:
    workers = [start(make_volumes, path, first, 40) for first in (0, 20, 40)]
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(v.owner for v in cloud.volumes.list_volumes()) == sorted(
        f"share/{number}" for number in range(80)
    )


def test_a_dead_process_freezes_nothing(cloud: MemoryCloud, path: Path) -> None:
    worker = start(freeze_and_wait, path)
    wait("the freeze", lambda: cloud.journal.count("freeze_share"), 30)
    (port,) = [p for p in cloud.networks.list_ports() if p.addresses[0].startswith("10.")]
    mount = cloud.client("10.0.0.1").mount(f"{port.addresses[0]}:/shares/s1")
    with pytest.raises(TimeoutError):
        mount.write("file", b"data")
    worker.kill()
    worker.join(30)
    mount.write("file", b"data")
    assert mount.read("file") == b"data"


def test_a_forked_child_uses_the_same_world(cloud: MemoryCloud, path: Path) -> None:
    cloud.volumes.create_volume("share/1", 1)
    child = os.fork()
    if child == 0:
        cloud.volumes.create_volume("share/2", 1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(cloud.volumes.list_volumes()) == 2


def test_deployments_in_one_world_don_t_see_each_other(cloud: MemoryCloud, path: Path) -> None:
    other = MemoryCloud("other", path=path)
    other.volumes.create_volume(owner(), 1)
    assert cloud.volumes.list_volumes() == []
    assert cloud.leaks() == {}
    other.close()
