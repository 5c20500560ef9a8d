"""Asking, claiming and ending at the same time: every wish is served, and nobody deadlocks."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection, insert, select, update

from atoll.db.claims import Claimed, claim
from atoll.db.database import Database
from atoll.db.operations import hold
from atoll.db.tables import deployment, operations
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from tests.engine.conftest import Workers, eventually

RESOURCES = [f"share/{number}" for number in range(6)]


def read(connection: Connection, key: str) -> str:
    return str(
        connection.execute(select(deployment.c.value).where(deployment.c.key == key)).scalar_one()
    )


def write(connection: Connection, key: str, value: str) -> None:
    connection.execute(update(deployment).where(deployment.c.key == key).values(value=value))


def wish(database: Database, seed: int) -> None:
    """Ask for two things at once, as the API does: the wanted states first, then the work."""
    chosen = random.Random(seed).sample(RESOURCES, 2)
    with database.begin() as connection:
        for resource in sorted(chosen):
            connection.execute(
                update(deployment)
                .where(deployment.c.key == f"wanted {resource}")
                .values(value=deployment.c.value + "x")
            )
        for resource in chosen:
            enqueue(connection, resource)


class Copying:
    """Makes what is wanted, and asks for a neighbour's sake in the same transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def converge(self, operation: Operation) -> None:
        with self._database.read() as connection:
            wanted = read(connection, f"wanted {operation.resource}")
        with operation.transaction() as connection:
            write(connection, f"made {operation.resource}", wanted)
            if operation.fence % 5 == 0:
                enqueue(connection, RESOURCES[operation.fence % len(RESOURCES)])

    def give_up(self, operation: Operation, error: Exception) -> None:
        raise error


def test_every_wish_is_served(workers: Workers) -> None:
    database = workers.database
    with database.begin() as connection:
        for resource in RESOURCES:
            for kind in ("wanted", "made"):
                connection.execute(insert(deployment).values(key=f"{kind} {resource}", value=""))
    for _ in range(2):
        workers.work({"share": Copying(database)}, threads=4)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda seed: wish(database, seed), range(240)))

    def is_idle() -> bool:
        query = select(operations.c.id).where(
            operations.c.resource.in_(RESOURCES), operations.c.status.in_(["queued", "running"])
        )
        with database.read() as connection:
            return connection.execute(query).first() is None

    eventually(is_idle, 30)
    with database.read() as connection:
        for resource in RESOURCES:
            assert read(connection, f"made {resource}") == read(connection, f"wanted {resource}")
        failed = select(operations.c.error).where(operations.c.status == "failed")
        assert connection.execute(failed).all() == []


def test_nobody_is_overtaken_inside_a_transaction(workers: Workers) -> None:
    """What a holder wrote is committed before the next one begins."""
    database = workers.database
    workers.ask("share/1")
    (held,) = take(database, "first")
    with database.begin() as connection:
        connection.execute(update(operations).values(lease_until=1.0))
    with ThreadPoolExecutor(1) as pool, database.begin() as connection:
        assert hold(connection, held.id, held.fence)
        overtaking = pool.submit(overtake, database)
        time.sleep(0.3)
        connection.execute(insert(deployment).values(key="written", value="by first"))
    assert overtaking.result(10) == "by first"
    with database.begin() as connection:
        assert not hold(connection, held.id, held.fence)


def take(database: Database, owner: str) -> list[Claimed]:
    with database.begin() as connection:
        claimed, _ = claim(
            connection,
            owner=owner,
            lease=30.0,
            free=1,
            lane_room={},
            lane_width=1,
            mine=[],
            take_over=True,
        )
    return claimed


def overtake(database: Database) -> str | None:
    while not take(database, "second"):
        time.sleep(0.01)
    with database.read() as connection:
        query = select(deployment.c.value).where(deployment.c.key == "written")
        return connection.execute(query).scalar()
