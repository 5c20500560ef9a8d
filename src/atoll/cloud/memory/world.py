"""The world of the simulated cloud: one SQLite file that outlives every process that uses it.

Like a real cloud, the file is not affected if a worker is killed, and the API, several workers and
a test use the same one. A call is one short transaction. SQLite's ``synchronous=OFF`` is
sufficient, because the world must survive the death of a process but not of the machine.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from atoll.errors import AtollError, CloudUnavailable, ConfigurationError
from atoll.wal import use_wal

SCHEMA_VERSION = 7
SCHEMA = """
CREATE TABLE capacity (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE instances (
    id TEXT PRIMARY KEY, deployment TEXT NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL,
    user TEXT NOT NULL, host_key TEXT NOT NULL,
    power TEXT NOT NULL,            -- active, stopped or error
    fault TEXT NOT NULL DEFAULT '',
    ready_at REAL NOT NULL,         -- wall clock: when this boot is, or was, finished
    boot_id TEXT NOT NULL,
    hung INTEGER NOT NULL DEFAULT 0,
    nfs INTEGER NOT NULL DEFAULT 0, -- whether the NFS server runs
    state_serial TEXT,              -- the volume with its state; '': it needs none
    UNIQUE (deployment, owner)) WITHOUT ROWID;

-- A disk is what a volume or a snapshot holds, so that a snapshot or a clone is a copy of rows.
CREATE TABLE volumes (
    id TEXT PRIMARY KEY, deployment TEXT NOT NULL, owner TEXT NOT NULL,
    size_gib INTEGER NOT NULL, instance_id TEXT,
    signature TEXT, fs_uuid TEXT, fs_gib INTEGER, created_at TEXT NOT NULL,
    fs_state TEXT NOT NULL DEFAULT 'sound',
    UNIQUE (deployment, owner)) WITHOUT ROWID;
CREATE INDEX volumes_by_instance ON volumes (instance_id);

CREATE TABLE snapshots (
    id TEXT PRIMARY KEY, deployment TEXT NOT NULL, owner TEXT NOT NULL,
    volume_id TEXT NOT NULL, size_gib INTEGER NOT NULL,
    signature TEXT, fs_uuid TEXT, fs_gib INTEGER, created_at TEXT NOT NULL,
    UNIQUE (deployment, owner)) WITHOUT ROWID;

CREATE TABLE files (
    disk_id TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL,
    flushed INTEGER NOT NULL,       -- 0: newer, and still in the guest's page cache
    PRIMARY KEY (disk_id, name, flushed)) WITHOUT ROWID;

CREATE TABLE networks (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
    deployment TEXT NOT NULL, owner TEXT NOT NULL,
    block INTEGER NOT NULL,         -- which of the ranges to choose from it has
    UNIQUE (deployment, owner));

CREATE TABLE subnets (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, network_id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    owner TEXT,                     -- NULL: it came with its network, and goes with it
    cidr TEXT NOT NULL, gateway TEXT,
    UNIQUE (deployment, owner, network_id));
CREATE INDEX subnets_by_network ON subnets (network_id);

-- A router belongs to a user. Atoll only plugs subnets in and out.
CREATE TABLE router_interfaces (
    subnet_id TEXT PRIMARY KEY, router_id TEXT NOT NULL,
    deployment TEXT) WITHOUT ROWID; -- NULL: the router's owner plugged it in

CREATE TABLE ports (
    id TEXT PRIMARY KEY, deployment TEXT NOT NULL, owner TEXT NOT NULL, network_id TEXT NOT NULL,
    subnet_id TEXT NOT NULL,
    number INTEGER NOT NULL,        -- of the address within the subnet
    mac TEXT NOT NULL, address TEXT NOT NULL,
    instance_id TEXT, position INTEGER NOT NULL DEFAULT 0,
    UNIQUE (subnet_id, number), UNIQUE (deployment, owner, subnet_id)) WITHOUT ROWID;
CREATE INDEX ports_by_instance ON ports (instance_id);
CREATE INDEX ports_by_address ON ports (address);
CREATE INDEX ports_by_network ON ports (network_id);

-- What the root disk of a simulated instance holds; it goes when the instance goes.
CREATE TABLE served (
    instance_id TEXT NOT NULL, share_id TEXT NOT NULL, serial TEXT NOT NULL, path TEXT NOT NULL,
    protocol TEXT NOT NULL, fsid TEXT NOT NULL, name TEXT NOT NULL, squash TEXT NOT NULL,
    rules TEXT NOT NULL, rules_digest TEXT NOT NULL, exported INTEGER NOT NULL,
    mounted INTEGER NOT NULL,
    frozen_until REAL, frozen_by TEXT, frozen_for TEXT, freeze_token TEXT,
    PRIMARY KEY (instance_id, share_id)) WITHOUT ROWID;
CREATE TABLE fences (
    instance_id TEXT NOT NULL, share_id TEXT NOT NULL, fence INTEGER NOT NULL,
    PRIMARY KEY (instance_id, share_id)) WITHOUT ROWID;

-- A lock is known to a server that has the state in which it was recorded.
CREATE TABLE locks (
    fsid TEXT NOT NULL, name TEXT NOT NULL, address TEXT NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (fsid, name, address)) WITHOUT ROWID;

-- Instances that were deleted while their host was cut off, and what they write to.
CREATE TABLE lingering (
    instance_id TEXT NOT NULL,
    volume_id TEXT NOT NULL,        -- '': the instance itself, whether it runs or not
    PRIMARY KEY (instance_id, volume_id)) WITHOUT ROWID;
-- Instances whose host somebody has switched off, and told the cloud so.
CREATE TABLE forced_down (instance_id TEXT PRIMARY KEY) WITHOUT ROWID;

CREATE TABLE faults (
    number INTEGER PRIMARY KEY, call TEXT NOT NULL, about TEXT NOT NULL, action TEXT NOT NULL,
    nth INTEGER NOT NULL, times INTEGER, after INTEGER NOT NULL,
    error TEXT NOT NULL, message TEXT NOT NULL, seconds REAL NOT NULL, seen INTEGER NOT NULL);
CREATE TABLE journal (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, about TEXT NOT NULL, pid INTEGER NOT NULL,
    time REAL NOT NULL);
CREATE TABLE accidents (number INTEGER PRIMARY KEY, deployment TEXT NOT NULL, text TEXT NOT NULL);

-- Kept as a counter, so that a create needn't add up ten thousand volumes.
CREATE TRIGGER volume_made AFTER INSERT ON volumes BEGIN
    UPDATE capacity SET value = value + new.size_gib WHERE name = 'allocated_gib'; END;
CREATE TRIGGER volume_grown AFTER UPDATE OF size_gib ON volumes BEGIN
    UPDATE capacity SET value = value + new.size_gib - old.size_gib WHERE name = 'allocated_gib';
    END;
CREATE TRIGGER volume_gone AFTER DELETE ON volumes BEGIN
    UPDATE capacity SET value = value - old.size_gib WHERE name = 'allocated_gib'; END;
"""

Row = tuple[Any, ...]

_BUSY_SECONDS = 60
_FORK_LOCK = threading.Lock()


class World:
    """A connection to one world. All threads of a process share it, one transaction at a time."""

    def __init__(self, path: Path | None, capacity: Mapping[str, float]) -> None:
        self._path = path
        self._inherited: list[sqlite3.Connection] = []
        self._open()
        with self.change():
            self._make(capacity)

    def _open(self) -> None:
        self._pid = os.getpid()
        self._depth = 0
        self.lock = threading.RLock()
        name = ":memory:" if self._path is None else str(self._path)
        if self._path is not None:
            # The file contains instances' keys and users' files. SQLite gives its other files the
            # same mode.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            if self._path.stat().st_mode & 0o077:
                self._path.chmod(0o600)
        self._db = sqlite3.connect(
            name,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        self._db.execute("PRAGMA synchronous = OFF")
        if self._path is not None:
            use_wal(self._db, _BUSY_SECONDS)

    def _reopen_after_fork(self) -> None:
        """A fork must use neither lock nor connection.

        Closing the connection would harm the parent.
        """
        with _FORK_LOCK:
            if os.getpid() != self._pid:
                self._inherited.append(self._db)
                self._open()

    def _make(self, capacity: Mapping[str, float]) -> None:
        (version,) = self.row("PRAGMA user_version") or (0,)
        if version == SCHEMA_VERSION:
            return
        if version:
            raise ConfigurationError(
                f"The simulated cloud in {self._path} was made by another version of Atoll.",
                hint="Start a new one: remove that file and the database that goes with it.",
            )
        for statement in _statements(SCHEMA):
            self._db.execute(statement)
        self._db.executemany(
            "INSERT INTO capacity VALUES (?, ?)", [*capacity.items(), ("allocated_gib", 0)]
        )
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def change(self) -> Iterator[None]:
        """One transaction. Inside another one, it is a part of that.

        An ``AtollError`` commits, because what a call did before it failed stays done in a real
        cloud.
        """
        if os.getpid() != self._pid:
            self._reopen_after_fork()
        with self.lock:
            if self._depth:
                yield
                return
            self._begin()
            self._depth = 1
            try:
                yield
            except AtollError:
                self._db.execute("COMMIT")
                raise
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            else:
                self._db.execute("COMMIT")
            finally:
                self._depth = 0

    def _begin(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise CloudUnavailable(f"The simulated cloud's file is busy: {error}.") from error

    def execute(self, sql: str, *values: object) -> int:
        """Run one statement within ``change``. Returns the number of rows that it has changed."""
        return self._db.execute(sql, values).rowcount

    def row(self, sql: str, *values: object) -> Row | None:
        """The first row that a query finds."""
        with self._reading():
            row: Row | None = self._db.execute(sql, values).fetchone()
            return row

    def rows(self, sql: str, *values: object) -> list[Row]:
        """All rows that a query finds."""
        with self._reading():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        if os.getpid() != self._pid:
            self._reopen_after_fork()
        with self.lock:
            yield

    def id(self) -> str:
        """An id that no other world has. It is made when it is first asked for."""
        with self.change():
            self.execute("CREATE TABLE IF NOT EXISTS world (id TEXT NOT NULL)")
            found = self.row("SELECT id FROM world")
            if found is not None:
                return str(found[0])
            made = uuid4().hex
            self.execute("INSERT INTO world VALUES (?)", made)
            return made

    def close(self) -> None:
        """Close the file. The world stays, unless it is in memory."""
        with self.lock:
            self._db.close()


def _statements(script: str) -> Iterator[str]:
    # executescript() would commit first, so that two processes could make the schema at once.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
