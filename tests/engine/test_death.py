"""Workers as processes: killed, frozen and overtaken, and many at once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from atoll.db.database import Database
from atoll.db.tables import deployment, operations
from tests.engine import worker_program
from tests.engine.conftest import Workers, eventually

LEASE = 1.5

pytestmark = pytest.mark.slow


class Crew:
    """Worker processes on one database."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.directory = directory
        self._url = database.url.render_as_string(hide_password=False)
        self._processes: list[subprocess.Popen[bytes]] = []

    def hire(self, name: str, lease: float = LEASE) -> subprocess.Popen[bytes]:
        root = Path(worker_program.__file__).parents[2]
        arguments = (self._url, name, self.directory, str(lease))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.worker_program", *arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        self._processes.append(process)
        return process

    def has(self, name: str) -> bool:
        """Whether a worker has written this, not only begun to."""
        file = self.directory / name
        return file.exists() and file.stat().st_size > 0

    def dismiss(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self._processes:
            process.wait(20)


@pytest.fixture
def crew(database: Database, tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(database, tmp_path)
    yield crew
    crew.dismiss()


def counts(database: Database) -> dict[str, int]:
    with database.read() as connection:
        rows = connection.execute(select(deployment.c.key, deployment.c.value))
        return {row.key: int(row.value) for row in rows}


def test_a_killed_workers_operation_is_taken_over(workers: Workers, crew: Crew) -> None:
    first = crew.hire("first")
    workers.ask("slow/x")
    eventually(lambda: crew.has("begun-first"), 30)
    crew.hire("second")
    eventually(lambda: crew.has("ready-second"), 30)
    time.sleep(LEASE / 2)  # it does not judge others before
    first.kill()
    killed = time.monotonic()
    (crew.directory / "go-second").touch()
    eventually(lambda: crew.has("begun-second"), 20)
    assert time.monotonic() - killed < LEASE + 3
    workers.ends("slow/x")
    assert counts(workers.database) == {"x": 1}
    assert workers.rows("slow/x")[0].attempts == 0


def freeze(process: subprocess.Popen[bytes], database: Database) -> None:
    """Stop a process, but not inside a write transaction: SQLite has nobody to end that."""
    while True:
        process.send_signal(signal.SIGSTOP)
        if not database.is_sqlite:
            return
        connection = sqlite3.connect(str(database.url.database), timeout=0.2)
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            time.sleep(0.05)
        finally:
            connection.close()


def test_a_frozen_worker_that_was_overtaken_writes_nothing(workers: Workers, crew: Crew) -> None:
    first = crew.hire("first")
    workers.ask("slow/x")
    eventually(lambda: crew.has("begun-first"), 30)
    freeze(first, workers.database)
    crew.hire("second")
    eventually(lambda: crew.has("begun-second"), 60)
    fences = [int((crew.directory / f"begun-{n}").read_text()) for n in ("first", "second")]
    assert fences[0] < fences[1]
    (crew.directory / "go-first").touch()
    first.send_signal(signal.SIGCONT)
    eventually(lambda: crew.has("refused-first"))
    assert counts(workers.database) == {}
    (crew.directory / "go-second").touch()
    workers.ends("slow/x")
    assert counts(workers.database) == {"x": 1}
    assert first.poll() is None  # and it goes on with other work
    workers.ask("count/y")
    workers.ends("count/y")


def test_three_workers_do_three_hundred_operations_once_each(workers: Workers, crew: Crew) -> None:
    for name in ("first", "second", "third"):
        crew.hire(name, lease=60.0)  # none of them dies, and a busy machine may stop one
    for number in range(300):
        workers.ask(f"count/{number}")

    def done() -> bool:
        query = select(func.count()).where(
            operations.c.status == "done", operations.c.resource.like("count/%")
        )
        with workers.database.read() as connection:
            return connection.execute(query).scalar_one() == 300

    eventually(done, 60)
    assert counts(workers.database) == {str(number): 1 for number in range(300)}


def test_one_is_killed_in_the_middle_of_many(workers: Workers, crew: Crew) -> None:
    first = crew.hire("first")
    for number in range(200):
        workers.ask(f"count/{number}")
    eventually(lambda: len(counts(workers.database)) > 5, 30)
    first.kill()
    crew.hire("second")
    eventually(lambda: len(counts(workers.database)) == 200, 60)
    eventually(lambda: _active(workers) == 0, 20)
    # what was written but not settled is converged once more
    assert sum(counts(workers.database).values()) <= 200 + 8


def _active(workers: Workers) -> int:
    query = select(func.count()).where(
        operations.c.status.in_(["queued", "running"]), operations.c.resource.like("count/%")
    )
    with workers.database.read() as connection:
        return connection.execute(query).scalar_one()
