"""A worker in a process of its own, for the tests that kill and freeze it.

``worker_program.py URL NAME DIRECTORY LEASE``: converging ``count/<n>`` adds one to the row
``<n>`` of the table ``deployment``; ``slow/<n>`` first says so in ``DIRECTORY/begun-NAME`` and
waits for ``DIRECTORY/go-NAME``. Refused writes are told in ``DIRECTORY/refused-NAME``, and that it
is about to work in ``DIRECTORY/ready-NAME``.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from atoll.db.database import Database
from atoll.db.tables import deployment
from atoll.engine.operation import Operation
from atoll.engine.worker import Worker
from atoll.errors import LeaseLost


def add_one(connection: Connection, key: str) -> None:
    mine = deployment.c.key == key
    have = connection.execute(select(deployment.c.value).where(mine)).scalar()
    if have is None:
        connection.execute(insert(deployment).values(key=key, value="1"))
    else:
        connection.execute(update(deployment).where(mine).values(value=str(int(have) + 1)))


class Counting:
    def converge(self, operation: Operation) -> None:
        with operation.transaction() as connection:
            add_one(connection, operation.resource_id)

    def give_up(self, operation: Operation, error: Exception) -> None:
        raise error


class Slow(Counting):
    def __init__(self, name: str, directory: Path) -> None:
        self._name, self._directory = name, directory

    def converge(self, operation: Operation) -> None:
        (self._directory / f"begun-{self._name}").write_text(str(operation.fence))
        while not (self._directory / f"go-{self._name}").exists():
            time.sleep(0.02)
        try:
            super().converge(operation)
        except LeaseLost:
            (self._directory / f"refused-{self._name}").write_text("yes")
            raise


def main(url: str, name: str, directory: str, lease: str) -> None:
    database = Database(url)
    handlers = {"count": Counting(), "slow": Slow(name, Path(directory))}
    worker = Worker(database, handlers, name=name, threads=8, lease=float(lease), poll=0.3)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    (Path(directory) / f"ready-{name}").write_text("yes")
    worker.run()
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
