"""``atoll purge`` under a worker: refused while one lives, done as soon as it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.db import services
from atoll.db.database import Database
from harness.wait import wait

HOST = "storage1"


class MemoryState:
    """A deployment on the simulated cloud, and at most one worker."""

    def __init__(self, state: Path, url: str) -> None:
        self.database = Database(url)
        self._environment = {
            **os.environ,
            "ATOLL_STATE_DIR": str(state),
            "ATOLL_CLOUD": "memory",
            "ATOLL_HOST": HOST,
            "ATOLL_DATABASE__URL": url,
        }
        self._log = state / "log"
        self.run("bootstrap")
        with self._log.open("wb") as log:
            argv = [sys.executable, "-m", "atoll.cli.process", "worker"]
            self.worker = subprocess.Popen(argv, env=self._environment, stderr=log)
        wait("the worker's start", self._beats, 60)

    def _beats(self) -> bool:
        assert self.worker.poll() is None, self._log.read_text()
        with self.database.read() as connection:
            return bool(services.every(connection, self.database.now(connection)))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "atoll.cli.main", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def close(self) -> None:
        self.worker.kill()
        self.worker.wait()
        self.database.close()


pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Iterator[MemoryState]:
    made = MemoryState(tmp_path, database_url)
    yield made
    made.close()


@pytest.mark.parametrize("ending", ["stopped", "killed"])
def test_a_purge_waits_for_the_workers_end(place: MemoryState, ending: str) -> None:
    refused = place.run("purge", "--yes")
    assert refused.returncode == 1
    assert f"{HOST}@" in refused.stderr
    assert "last sign of life" in refused.stderr
    assert "--even-under-a-live-worker" in refused.stderr
    assert refused.stdout == ""

    place.worker.send_signal(signal.SIGTERM if ending == "stopped" else signal.SIGKILL)
    place.worker.wait(30)
    began = time.monotonic()
    done = place.run("purge", "--yes")
    assert done.returncode == 0, done.stderr
    # On PostgreSQL it may be elsewhere, and is given the time for one more heartbeat.
    assert time.monotonic() - began < services.DOWN_AFTER - 10


def test_a_frozen_worker_lives_and_one_may_insist(place: MemoryState) -> None:
    place.worker.send_signal(signal.SIGSTOP)
    assert place.run("purge", "--yes").returncode == 1
    assert place.run("purge", "--even-under-a-live-worker").returncode == 1
    place.worker.send_signal(signal.SIGCONT)  # it may have been frozen with a row locked
    insisted = place.run("purge", "--yes", "--even-under-a-live-worker")
    assert insisted.returncode == 0, insisted.stderr
