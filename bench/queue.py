"""The queue of operations with trivial handlers, on SQLite and on PostgreSQL."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from atoll.db.database import Database
from atoll.db.migrations import upgrade
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.engine.worker import Worker
from bench.number import Number
from harness import postgres

ONE_BY_ONE = 100
AT_ONCE = 2000
IDLE = 5.0


class RecordingHandler:
    """Records when each resource was handled, and opens a transaction like a real handler."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def converge(self, operation: Operation) -> None:
        self.at[operation.resource] = time.perf_counter()
        with operation.transaction():
            pass

    def give_up(self, operation: Operation, error: Exception) -> None:
        raise error


def run() -> list[Number]:
    """Measure SQLite, and PostgreSQL if its server is installed."""
    with tempfile.TemporaryDirectory() as directory:
        found = measure("SQLite", f"sqlite:///{directory}/atoll.db")
    programs = postgres.programs()
    if programs is not None:
        cluster = postgres.Cluster(programs)
        try:
            found += measure("PostgreSQL", cluster.new_database())
        finally:
            cluster.remove()
    return found


def measure(name: str, url: str) -> list[Number]:
    """Measure the latency of single operations, the rate of many, and an idle worker."""
    with working(url) as (database, handler):
        waits = [one(database, handler, number) for number in range(ONE_BY_ONE)]
        wall, cpu = many(database, handler)
        time.sleep(1.0)
        used = time.process_time()
        time.sleep(IDLE)
        idle = (time.process_time() - used) / IDLE
    return [
        Number(f"{name}: commit to the handler's first line", waits, "ms"),
        Number(f"{name}: {AT_ONCE} at once, wall time each", [wall], "ms"),
        Number(f"{name}: {AT_ONCE} at once, CPU each", [cpu], "ms"),
        Number(f"{name}: an idle worker, CPU a second", [idle * 1000], "ms", 5),
    ]


@contextmanager
def working(url: str) -> Iterator[tuple[Database, RecordingHandler]]:
    """Run a worker on a new database."""
    database, handler = Database(url), RecordingHandler()
    upgrade(database)
    worker = Worker(database, {"share": handler})
    thread = threading.Thread(target=worker.run)
    thread.start()
    time.sleep(1.0)
    yield database, handler
    worker.stop()
    thread.join()
    database.close()


def one(database: Database, handler: RecordingHandler, number: int) -> float:
    """Milliseconds from the commit to the call of the handler."""
    resource = f"share/one-{number}"
    with database.begin() as connection:
        enqueue(connection, resource)
    begun = time.perf_counter()
    while resource not in handler.at:
        time.sleep(0.0002)
    time.sleep(0.01)
    return (handler.at[resource] - begun) * 1000


def many(database: Database, handler: RecordingHandler) -> tuple[float, float]:
    """Milliseconds per operation: wall time and CPU time."""
    have = len(handler.at)
    with database.begin() as connection:
        for number in range(AT_ONCE):
            enqueue(connection, f"share/many-{number}")
    begun, used = time.perf_counter(), time.process_time()
    while len(handler.at) < have + AT_ONCE:
        time.sleep(0.002)
    wall, cpu = time.perf_counter() - begun, time.process_time() - used
    return wall / AT_ONCE * 1000, cpu / AT_ONCE * 1000
