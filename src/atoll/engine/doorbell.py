"""Wakes idle workers as soon as there is something to do; polling is the net below it.

On SQLite each worker listens on a datagram socket in the directory ``<database file>.doorbell``
and a process that has committed work rings them all. The directory's mode keeps other users out: it
is for the same users as the database's own directory. On PostgreSQL it is LISTEN and NOTIFY: the
notification is part of the transaction that enqueues.
A ring carries nothing and may be lost.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, text

from atoll.db import neighbours
from atoll.db.database import Database, after_commit
from atoll.db.operations import CHANNEL

log = structlog.get_logger()


class Doorbell(Protocol):
    """What a worker listens on."""

    def fileno(self) -> int:
        """Return what becomes readable when somebody rings; -1 while there is nothing."""

    def answer(self) -> None:
        """Take in all rings so far."""

    def gone(self, workers: Iterable[str]) -> list[str]:
        """Return those of the named workers of which it is certain that they are dead."""

    def close(self) -> None:
        """Stop listening."""


def ring(connection: Connection) -> None:
    """Wake all workers when this transaction commits."""
    if connection.dialect.name == "sqlite":
        after_commit(connection, _street(connection.engine.url.database or "").ring)
    # PostgreSQL: the enqueuing statement has notified already


def ring_for_waiting(connection: Connection) -> None:
    """Wake all workers when this transaction commits, where nothing was enqueued in it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})
    else:
        ring(connection)


def listen(database: Database, worker: str) -> Doorbell:
    """Open the doorbell of the worker with that name."""
    if database.is_sqlite:
        return _SocketDoorbell(_street(database.url.database or ""), worker)
    return _NotifyDoorbell(database)


def listeners(database: Database) -> int:
    """How many workers of the database are alive now; a killed one is not counted.

    Each listens while it is alive, except for some seconds after PostgreSQL was down.
    """
    if database.is_sqlite:
        return _street(database.url.database or "").count()
    with database.read() as connection:
        found = connection.execute(_LISTENERS, {"query": f"LISTEN {CHANNEL}"})
        return int(found.scalar_one())


_LISTENERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = :query"
)
"""A connection that listens does nothing else, so this stays the last that it was told."""


class _Street:
    """The directory in which the workers' sockets are."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def enter(self) -> Iterator[int]:
        """Open the directory: by ``/proc/self/fd`` no path is too long for a socket."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def make(self) -> None:
        """Make the directory, only for users who may use the database."""
        neighbours.make_directory(self._directory)

    def open_to_group(self, door: str, street: int) -> None:
        """Let every user ring who may read the directory."""
        found = os.fstat(street)
        is_ours = found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if is_ours and found.st_mode & stat.S_IXGRP:  # nobody else can have put a link there
            os.chown(door, -1, found.st_gid, dir_fd=street, follow_symlinks=False)
            os.chmod(door, 0o660, dir_fd=street)

    def is_empty(self, name: str) -> bool:
        """Whether nobody listens at that door (any more)."""
        try:
            with self.enter() as street, _sender() as sender:
                sender.sendto(b"", f"/proc/self/fd/{street}/{name}")
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False  # its queue is full: it may be frozen
        return False

    def count(self) -> int:
        """The number of sockets on which a worker listens."""
        try:
            with self.enter() as street:
                doors = os.listdir(street)  # noqa: PTH208 - of a descriptor
        except FileNotFoundError:
            return 0
        return sum(not self.is_empty(door) for door in doors)

    def ring(self) -> None:
        """Ring at every door; remove the sockets that dead workers have left."""
        with (
            suppress(OSError),  # no worker has ever listened here, or none that we may ring
            self.enter() as street,
            _sender() as sender,
        ):
            for name in os.listdir(street):  # noqa: PTH208 - of a descriptor
                try:
                    sender.sendto(b"", f"/proc/self/fd/{street}/{name}")
                except ConnectionRefusedError:
                    with suppress(FileNotFoundError, PermissionError):
                        os.unlink(name, dir_fd=street)  # the API may not: the next worker does
                except OSError:
                    continue  # its queue is full (so it is awake), or it has just left


def _sender() -> socket.socket:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    return sender


def _door(worker: str) -> str:
    return hashlib.sha256(worker.encode()).hexdigest()[:32]


@lru_cache(maxsize=16)
def _street(database_file: str) -> _Street:
    return _Street(Path(f"{database_file}.doorbell").absolute())


class _SocketDoorbell:
    def __init__(self, street: _Street, worker: str) -> None:
        self._street = street
        self._name = _door(worker)
        self._socket = _sender()
        street.make()
        with street.enter() as directory:
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=directory)  # the last one's of this name
            self._socket.bind(f"/proc/self/fd/{directory}/{self._name}")
            street.open_to_group(self._name, directory)

    def fileno(self) -> int:
        return self._socket.fileno()

    def answer(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(1)

    def gone(self, workers: Iterable[str]) -> list[str]:
        # SQLite's workers are all on this machine, and each listens as long as it lives.
        return [one for one in workers if self._street.is_empty(_door(one))]

    def close(self) -> None:
        with suppress(FileNotFoundError), self._street.enter() as directory:
            os.unlink(self._name, dir_fd=directory)
        self._socket.close()


class _NotifyDoorbell:
    """A connection of its own that listens; opened again when it breaks."""

    REOPEN = 2.0
    """Seconds between attempts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._driver: Any = None
        self._opened = -self.REOPEN

    def fileno(self) -> int:
        if self._driver is None and time.monotonic() - self._opened >= self.REOPEN:
            self._open()
        return -1 if self._driver is None else int(self._driver.fileno())

    def answer(self) -> None:
        import psycopg  # only where there is PostgreSQL

        try:
            for _ in self._driver.notifies(timeout=0):
                pass
        except psycopg.Error:
            self.close()

    def gone(self, workers: Iterable[str]) -> list[str]:
        return []  # they may be anywhere: their leases tell

    def close(self) -> None:
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def _open(self) -> None:
        import psycopg

        self._opened = time.monotonic()
        try:
            self._driver = self._database.link(autocommit=True)
            self._driver.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error as error:
            self.close()
            log.warning("doorbell.unavailable", error=str(error))
