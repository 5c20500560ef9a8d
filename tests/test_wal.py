"""The switch to the write-ahead log waits for others, which SQLite itself does not do."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from atoll.wal import use_wal


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads from a new file, so that nobody can switch it to the log."""
    with closing(sqlite3.connect(tmp_path / "db", check_same_thread=False)) as connection:
        connection.isolation_level = None
        connection.execute("CREATE TABLE things (id INTEGER)")
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM things").fetchall()
        yield connection


def test_it_waits_until_the_file_is_free(reader: sqlite3.Connection, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db", timeout=0)) as connection:
        timer = threading.Timer(0.2, reader.execute, ("COMMIT",))
        timer.start()
        use_wal(connection, patience=20)
        timer.join()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_it_gives_up_in_time(reader: sqlite3.Connection, tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "db", timeout=0)) as connection,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        use_wal(connection, patience=0.1)


def test_other_errors_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"this is no database" * 100)
    with (
        closing(sqlite3.connect(tmp_path / "db")) as connection,
        pytest.raises(sqlite3.DatabaseError, match="not a database"),
    ):
        use_wal(connection, patience=60)
