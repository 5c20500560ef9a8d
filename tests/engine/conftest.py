"""Workers in threads, with handlers that note what they did."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from atoll.db.database import Database
from atoll.db.tables import operations
from atoll.engine.operation import Handler, Operation
from atoll.engine.queue import enqueue
from atoll.engine.retry import Retry
from atoll.engine.worker import Worker
from harness.wait import wait

Act = Callable[[Operation], None]

QUICK = Retry(first=0.05, longest=0.2, tries=4)


class Recorder:
    """A handler that does for each resource what the test has set, and notes it."""

    def __init__(self) -> None:
        self.converged: dict[str, list[Operation]] = defaultdict(list)
        self.given_up: list[tuple[str, Exception]] = []
        self.does: dict[str, Act] = {}
        self.when_giving_up: Act = lambda _: None

    def converge(self, operation: Operation) -> None:
        self.converged[operation.resource].append(operation)
        if operation.resource in self.does:
            self.does[operation.resource](operation)

    def give_up(self, operation: Operation, error: Exception) -> None:
        self.when_giving_up(operation)
        self.given_up.append((operation.resource, error))


class Workers:
    """A database with workers, and what a test asks of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._workers: list[tuple[Worker, threading.Thread]] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def work(self, handlers: dict[str, Handler], **options: Any) -> Worker:
        """Start a worker in a thread.

        A busy machine can stop it for seconds, so its lease is long, but in tests of leases.
        """
        settings: dict[str, Any] = {"lease": 30.0, "poll": 0.5, "retry": QUICK} | options
        worker = Worker(self.database, handlers, **settings)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        self._workers.append((worker, thread))
        return worker

    def stop(self, grace: float = 5.0) -> None:
        for worker, _ in self._workers:
            worker.stop(grace)
        for _, thread in self._workers:
            thread.join(grace + 5)
            assert not thread.is_alive()
        self._workers.clear()

    def ask(self, *resources: str, **options: Any) -> None:
        with self.database.begin() as connection:
            for resource in resources:
                enqueue(connection, resource, **options)

    def rows(self, resource: str) -> list[Any]:
        with self.database.read() as connection:
            return list(
                connection.execute(select(operations).where(operations.c.resource == resource))
            )

    def status(self, resource: str) -> str:
        """The status of the only operation of ``resource``."""
        (row,) = self.rows(resource)
        return str(row.status)

    def ends(self, resource: str, status: str = "done", within: float = 10.0) -> None:
        eventually(lambda: self.status(resource) == status, within)


def eventually(condition: Callable[[], bool], within: float = 10.0) -> None:
    wait("what was asked for", condition, within, pause=0.02)


def waiting(event: threading.Event) -> Act:
    """An action that lasts until the event."""

    def act(_: Operation) -> None:
        event.wait(20)

    return act


@pytest.fixture
def workers(database: Database) -> Iterator[Workers]:
    with Workers(database) as workers:
        yield workers


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
