"""SQLite's write-ahead log, for everything here that keeps data in SQLite."""

from __future__ import annotations

import sqlite3
import time

_PAUSE = 0.01
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def use_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Switch the database to its write-ahead log, which is remembered in its file.

    SQLite's own time-out does not cover this switch: with several connections to a new file it
    fails at once. So it is tried for ``patience`` seconds. Raises ``sqlite3.OperationalError`` if
    the database is locked for longer.
    """
    end = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            is_locked = error.sqlite_errorcode & 0xFF in _LOCKED
            if not is_locked or time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
        else:
            return
