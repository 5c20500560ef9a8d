"""Transactions: writes are alone, reads see one snapshot, forks and calls after a commit."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import DBAPIError

from atoll.db.database import (
    Database,
    after_commit,
    is_transient,
    project_lock,
    utcnow_text,
)
from atoll.db.migrations import upgrade
from atoll.db.tables import deployment, share_types


def put(connection: Connection, key: str, value: str = "") -> None:
    connection.execute(insert(deployment).values(key=key, value=value))


def put_twice(
    connection: Connection, key: str, *, before: Callable[[], None] = lambda: None
) -> None:
    """Fail, after something was written."""
    before()
    put(connection, key)
    put(connection, key)


def keys(connection: Connection) -> list[str]:
    return list(connection.execute(select(deployment.c.key).order_by("key")).scalars())


def test_a_transaction_is_whole_or_nothing(database: Database) -> None:
    with database.begin() as connection:
        put(connection, "kept")
    with pytest.raises(DBAPIError), database.begin() as connection:
        put_twice(connection, "lost")
    with database.read() as connection:
        assert keys(connection) == ["kept"]


def test_a_read_sees_one_snapshot(database: Database) -> None:
    with database.read() as connection:
        assert keys(connection) == []
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_put_one, database).result()
        assert keys(connection) == []
    with database.read() as connection:
        assert keys(connection) == ["one"]


def _put_one(database: Database) -> None:
    with database.begin() as connection:
        put(connection, "one")


def test_counting_under_the_project_lock_is_race_free(database: Database) -> None:
    def take(number: int) -> bool:
        with database.begin() as connection:
            project_lock(connection, "p")
            if len(keys(connection)) >= 5:
                return False
            put(connection, str(number))
            return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(take, range(40))).count(True) == 5


def test_json_comes_back_as_it_was(database: Database) -> None:
    specs = {"snapshot_support": "True", "größe": [1, None, {"a": 2.5}]}
    with database.begin() as connection:
        connection.execute(
            insert(share_types).values(
                id="t", name="t", is_public=True, extra_specs=specs, created_at=utcnow_text()
            )
        )
        assert connection.execute(select(share_types.c.extra_specs)).scalar_one() == specs


def test_calls_after_a_commit(database: Database) -> None:
    calls = []

    def call() -> None:
        calls.append("called")

    with database.begin() as connection:
        after_commit(connection, call)
        after_commit(connection, call)
        assert calls == []
    assert calls == ["called"]
    with pytest.raises(DBAPIError), database.begin() as connection:
        put_twice(connection, "x", before=lambda: after_commit(connection, call))
    with database.begin():
        pass
    assert calls == ["called"]


def test_the_clock_is_the_same_everywhere(database: Database) -> None:
    with database.read() as connection:
        assert abs(database.now(connection) - time.time()) < 1
    assert len(utcnow_text()) == 26
    assert utcnow_text() < utcnow_text()


def test_a_forked_child_opens_its_own_connections(database: Database) -> None:
    with database.begin() as connection:
        put(connection, "parent")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with database.begin() as connection:
                put(connection, "child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with database.begin() as connection:
        assert keys(connection) == ["child", "parent"]


def test_what_is_transient(database: Database) -> None:
    with pytest.raises(DBAPIError) as mistake, database.read() as connection:
        connection.execute(text("SELECT nothing FROM nowhere"))
    assert not is_transient(mistake.value)
    with pytest.raises(DBAPIError) as twice, database.begin() as connection:
        put_twice(connection, "a")
    assert not is_transient(twice.value)


def test_writers_in_one_process_take_turns_quickly(database: Database) -> None:
    """SQLite's own waiting would be tens of milliseconds a turn, and would fail some."""

    def write(number: int) -> None:
        for turn in range(10):
            with database.begin() as connection:
                put(connection, f"{number}-{turn}")

    begun = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))
    assert time.monotonic() - begun < 10
    with database.read() as connection:
        assert len(keys(connection)) == 160


def test_a_write_in_a_write_is_a_mistake(tmp_path_factory: pytest.TempPathFactory) -> None:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('db')}/atoll.db")
    with (
        database.begin(),
        pytest.raises(RuntimeError, match="open already"),
        database.begin(),
    ):
        pass
    done = threading.Event()
    with database.begin():
        threading.Thread(target=_enter, args=(database, done)).start()
        assert not done.wait(0.1)
    assert done.wait(5)
    database.close()


def _enter(database: Database, done: threading.Event) -> None:
    with database.begin():
        done.set()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_connection_that_is_in_use_when_the_database_is_closed_is_closed_afterwards(
    database_url: str,
) -> None:
    database = Database(database_url)
    with database.read() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        database.close()
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    with pytest.raises(Exception, match="closed"):
        raw.cursor().execute("SELECT 1")
    gc.collect()


def test_with_sqlite_no_process_loads_what_postgresql_needs(tmp_path: Path) -> None:
    """Which takes 2 MiB of memory."""
    database = Database(f"sqlite:///{tmp_path}/atoll.db")
    upgrade(database)
    database.close()
    program = (
        "import sys, uuid, atoll.api.app, atoll.cli.worker\n"
        "from atoll.db.database import Database\n"
        "from atoll.engine.queue import enqueue\n"
        "with Database(sys.argv[1]).begin() as connection:\n"
        "    enqueue(connection, f'share/{uuid.uuid4()}')\n"
        "print([name for name in sys.modules if 'psycopg' in name or 'postgresql' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(database.url)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
