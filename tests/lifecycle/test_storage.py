"""What the driver stores: the same on a database as in memory, and never by an outdated worker."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet

from atoll.db import claims
from atoll.db.database import Database
from atoll.driver.storage import MemoryStorage, PrivateStorage
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import LeaseLost
from atoll.lifecycle.seal import Seal
from atoll.lifecycle.storage import DatabaseStorage

OWN, OTHER = "share/1", "share/2"


class Runner:
    stopping = False

    def change_lane(self, operation: Operation, lane: str) -> bool:
        return True


def claim(
    database: Database, resource: str = OWN, *, lease: float = 30.0, take_over: bool = False
) -> Operation:
    """The operation of a resource, claimed by another worker each time."""
    with database.begin() as connection:
        enqueue(connection, resource)
        [claimed], _ = claims.claim(
            connection,
            owner=f"worker {time.monotonic()}",
            lease=lease,
            free=1,
            lane_room={},
            lane_width=1,
            mine=[],
            take_over=take_over,
        )
    return Operation(claimed, database, Runner(), time.monotonic() + 30)


@pytest.fixture
def seal() -> Seal:
    return Seal(Fernet.generate_key())


@pytest.fixture
def in_database(database: Database, seal: Seal) -> DatabaseStorage:
    return DatabaseStorage(database, seal, claim(database))


@pytest.mark.parametrize("encrypt", [False, True])
@pytest.mark.parametrize("resource", [OWN, OTHER])
@pytest.mark.parametrize("is_real", [True, False], ids=["database", "memory"])
def test_what_is_stored_is_read(
    in_database: DatabaseStorage, is_real: bool, resource: str, encrypt: bool
) -> None:
    storage: PrivateStorage = in_database if is_real else MemoryStorage()
    assert storage.get(resource, "volume") is None
    storage.update(resource, {"volume": "v-1", "path": "/shares/1"}, encrypt=encrypt)
    assert storage.get(resource, "volume") == "v-1"
    storage.update(resource, {"volume": "v-2"}, encrypt=encrypt)
    assert storage.get(resource, "volume") == "v-2"
    assert storage.get(resource, "path") == "/shares/1"
    storage.delete(resource, "volume")
    assert storage.get(resource, "volume") is None
    storage.delete(resource)
    assert storage.get(resource, "path") is None
    storage.check_current()


def test_what_others_store_of_other_resources_is_seen(
    in_database: DatabaseStorage, database: Database, seal: Seal
) -> None:
    assert in_database.get(OTHER, "volume") is None
    another = DatabaseStorage(database, seal, claim(database, OTHER))
    another.update(OTHER, {"volume": "v-1"})
    assert in_database.get(OTHER, "volume") == "v-1"


@pytest.mark.parametrize(
    "act",
    [
        lambda storage: storage.update(OWN, {"volume": "v-2"}),
        lambda storage: storage.delete(OWN),
        lambda storage: storage.check_current(),
    ],
    ids=["update", "delete", "check_current"],
)
def test_an_outdated_worker_stores_nothing(
    database: Database, seal: Seal, act: Callable[[PrivateStorage], None]
) -> None:
    outdated = DatabaseStorage(database, seal, claim(database, lease=0.0))
    outdated.update(OWN, {"volume": "v-1"})
    time.sleep(0.01)
    newer = DatabaseStorage(database, seal, claim(database, take_over=True))
    with pytest.raises(LeaseLost):
        act(outdated)
    assert newer.get(OWN, "volume") == "v-1"
