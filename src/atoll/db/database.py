"""Opens the database: SQLite (for one machine) or PostgreSQL (for several).

``with database.begin() as connection`` is a write transaction. ``with database.read()`` sees one
snapshot and writes nothing. On SQLite write transactions begin with BEGIN IMMEDIATE and run one at
a time, so what one has read stays true until it commits. On PostgreSQL they are READ COMMITTED, and
take row locks where necessary.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, Engine, Float, create_engine, event, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from atoll.config import Settings
from atoll.db import neighbours
from atoll.db.reserve import Reserve
from atoll.errors import ConfigurationError
from atoll.wal import use_wal

if TYPE_CHECKING:
    from atoll.db.postgresql import Link, Silence

BUSY_TIMEOUT = 15.0
"""Seconds to wait for another transaction's lock (on SQLite)."""

IDLE_TIMEOUT = 30.0
"""Seconds that a transaction may be idle (on PostgreSQL), because it should be short."""

_after_commit: weakref.WeakKeyDictionary[Connection, list[Callable[[], None]]] = (
    weakref.WeakKeyDictionary()
)


class database_clock(FunctionElement[float]):  # noqa: N801 - it is used like an SQL function
    """Seconds since the epoch by the database's clock, inside a statement."""

    type = Float()
    inherit_cache = True


@compiles(database_clock, "postgresql")
def _clock_postgresql(element: database_clock, compiler: SQLCompiler, **_: Any) -> str:
    # clock_timestamp() is volatile, so comparisons with it would not use an index.
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"


@compiles(database_clock, "sqlite")
def _clock_sqlite(element: database_clock, compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


_NOW = select(database_clock())
_PROJECT_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:project, 0))")


def utcnow_text() -> str:
    """The time in the format of the ``*_at`` columns: UTC, ISO 8601, microseconds, no zone."""
    return time_text(time.time())


def time_text(moment: float) -> str:
    """A time (epoch seconds) in the format of the ``*_at`` columns."""
    when = datetime.fromtimestamp(moment, UTC)
    return when.replace(tzinfo=None).isoformat(timespec="microseconds")


def is_transient(error: BaseException) -> bool:
    """Whether a database error may be temporary: no answer, a lock or a deadlock."""
    if isinstance(error, DBAPIError):
        # sqlite3 reports even a misspelt column as an OperationalError.
        is_mistake = getattr(error.orig, "sqlite_errorname", "") == "SQLITE_ERROR"
        transient = isinstance(error, OperationalError | InterfaceError) and not is_mistake
        return transient or error.connection_invalidated
    return isinstance(error, PoolTimeoutError)


def is_full(error: BaseException) -> bool:
    """Whether a database error means that its disk is full."""
    name = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
    return bool(name == "SQLITE_FULL")


def after_commit(connection: Connection, call: Callable[[], None]) -> None:
    """Call ``call`` after the write transaction of ``connection`` has committed.

    Equal calls are made only once. The call must be quick and must not raise.
    """
    calls = _after_commit.setdefault(connection, [])
    if call not in calls:
        calls.append(call)


def project_lock(connection: Connection, project_id: str) -> None:
    """Ensure that no other transaction counts or changes what the project uses.

    SQLite needs no lock, because it has only one write transaction at a time.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_PROJECT_LOCK, {"project": project_id})


class Database:
    """One database, for all threads of this process.

    ``url`` is ``sqlite:///path``, ``postgresql+psycopg://…`` or ``postgresql://…``. ``connections``
    is the number of threads that may use the database at once. ``timeout`` is the time in seconds
    that PostgreSQL may take for one answer.
    """

    def __init__(self, url: str, *, connections: int = 20, timeout: float = 5.0) -> None:
        self.url: URL = make_url(url)
        self.is_sqlite: bool = self.url.get_backend_name() == "sqlite"
        if self.url.drivername == "postgresql":
            self.url = self.url.set(drivername="postgresql+psycopg")
        self._reserve: Reserve | None = None
        if self.is_sqlite:
            self._reserve = Reserve(Path(f"{self.url.database}.reserve").absolute())
            _make_private_file(self.url)
        self._timeout = timeout
        self._is_closed = False
        self._silence: Silence | None = None
        self.engine: Engine = create_engine(
            self.url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=BUSY_TIMEOUT if self.is_sqlite else timeout,
            pool_use_lifo=True,  # so that few connections are used, unless there is much load
            pool_pre_ping=not self.is_sqlite,
            json_serializer=_json_text,
            json_deserializer=msgspec.json.decode,
        )
        self._reader, self._writer = self.engine.execution_options(), self.engine
        self._write_lock = threading.Lock()
        self._write_owner: int | None = None
        event.listen(self.engine, "checkin", self._after_use)
        if self.is_sqlite:
            self._set_up_sqlite()
        else:
            self._set_up_postgresql()
        # A connection must not be used by two processes, so a forked child opens its own.
        forget = weakref.WeakMethod(self._forget)
        os.register_at_fork(after_in_child=lambda: (call := forget()) and call())

    @classmethod
    def of(cls, settings: Settings) -> Database:
        """The database of the configuration."""
        chosen = settings.database
        return cls(settings.database_url, connections=chosen.connections, timeout=chosen.timeout)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a write transaction, which commits after the block, or rolls back on errors."""
        self._check_silence()
        self._make_room()
        with self._turn(), self._writer.begin() as connection:
            yield connection
        for call in _after_commit.pop(connection, ()):
            call()

    def read(self) -> Connection:
        """Open a read-only transaction, which sees one snapshot: ``with database.read() as …``."""
        self._check_silence()
        return self._reader.connect()

    def now(self, connection: Connection) -> float:
        """Seconds since the epoch by the database's clock (on SQLite: this machine's)."""
        if self.is_sqlite:
            return time.time()
        return connection.execute(_NOW).scalar_one()

    def close(self) -> None:
        """Close idle connections now, and the others after their use."""
        self._is_closed = True
        self.engine.dispose()

    def _after_use(self, _: Any, record: ConnectionPoolEntry) -> None:
        if self._is_closed:  # the engine has a new pool, so nothing else would close it
            record.close()

    def keep_reserve(self) -> None:
        """Replenish the reserve of disk space (SQLite). Call it regularly."""
        if self._reserve is not None:
            self._reserve.keep()

    def has_room_for_more(self) -> bool:
        """Whether the disk has space for new resources; the reserve is only for deletions."""
        return self._reserve is None or self._reserve.has_room_for_more()

    def _make_room(self) -> None:
        if self._reserve is not None and self._reserve.is_needed():
            self._reserve.release()

    def link(self, **options: Any) -> Link:
        """Open a connection to PostgreSQL outside the pool. Raises ``psycopg.Error``."""
        from atoll.db.postgresql import open_link  # psycopg may be missing with SQLite

        assert self._silence is not None
        self._silence.check()
        positional, named = self.engine.dialect.create_connect_args(self.url)
        options = {**named, **options}
        return open_link(positional, options, self._timeout, self._silence)

    def _set_up_postgresql(self) -> None:
        from atoll.db.postgresql import Silence, open_link

        self._silence = silence = Silence(self._timeout)
        self._reader = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

        @event.listens_for(self.engine, "do_connect")
        def _open(_: Any, __: Any, arguments: list[Any], options: dict[str, Any]) -> Link:
            return open_link(arguments, options, self._timeout, silence)

        @event.listens_for(self.engine, "connect")
        def _connect(raw: Any, _: Any) -> None:
            # A process that is frozen or cut off within a transaction must not keep its locks,
            # because then its operations could not be taken over.
            milliseconds = int(self._timeout * 1000)
            raw.execute(
                f"SET idle_in_transaction_session_timeout = {int(IDLE_TIMEOUT * 1000)};"
                f"SET lock_timeout = {milliseconds}; SET statement_timeout = {milliseconds}"
            )
            raw.commit()

    def _check_silence(self) -> None:
        if self._silence is not None:
            try:
                self._silence.check()
            except self.engine.dialect.loaded_dbapi.OperationalError as error:
                raise OperationalError("BEGIN", {}, error) from error

    def _set_up_sqlite(self) -> None:
        self._reader, self._writer = (
            self.engine.execution_options(),
            self.engine.execution_options(),
        )

        @event.listens_for(self.engine, "connect")
        def _connect(raw: Any, _: Any) -> None:
            self._make_room()  # SQLite makes files even for a reader
            raw.isolation_level = None  # the driver must not begin transactions implicitly
            raw.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
            use_wal(raw, BUSY_TIMEOUT)
            # With FULL, accepted requests survive a power failure, at the cost of one fsync per
            # transaction (0.3 ms on a common SSD). NORMAL could lose the last transactions.
            raw.execute("PRAGMA synchronous = FULL")
            raw.execute("PRAGMA foreign_keys = ON")

        @event.listens_for(self._reader, "begin")
        def _begin_read(connection: Connection) -> None:
            _raw(connection).execute("BEGIN")

        @event.listens_for(self._writer, "begin")
        def _begin_write(connection: Connection) -> None:
            try:
                _raw(connection).execute("BEGIN IMMEDIATE")
            except connection.dialect.loaded_dbapi.OperationalError as error:
                raise OperationalError("BEGIN IMMEDIATE", {}, error) from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        # SQLite waits for a lock by sleeping up to 100 ms, in no fair order. So the threads of one
        # process queue here, and only processes compete in SQLite.
        if not self.is_sqlite:
            yield
            return
        if self._write_owner == threading.get_ident():
            raise RuntimeError("this thread has a write transaction open already")
        with self._write_lock:
            self._write_owner = threading.get_ident()
            try:
                yield
            finally:
                self._write_owner = None

    def _forget(self) -> None:
        self.engine.dispose(close=False)
        self._write_lock, self._write_owner = threading.Lock(), None


def _raw(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _json_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _make_private_file(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("The database must be a file: sqlite:///path.")
    path = Path(url.database)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its -wal and -shm files the mode of the database file.
        neighbours.make_file(path)
        may = os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)
    except PermissionError:
        may = False
    if not may:
        raise ConfigurationError(
            f"This process may not write the database {path}.",
            hint="Its directory must belong to a group of this process, and be writable for that "
            "group before the database is created.",
        )
