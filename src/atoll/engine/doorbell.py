"""Wakes idle workers as soon as an operation is due; if a wake-up is lost, polling finds it.

On SQLite each worker listens on a datagram socket in the directory ``<database file>.doorbell``,
and a process that has committed work sends a datagram to all of them. The mode of the directory
admits the same users as the database's own directory. On PostgreSQL workers use LISTEN, and the
transaction that enqueues contains the NOTIFY.
A wake-up ("ring") carries no data.
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
    """What wakes a worker."""

    def fileno(self) -> int:
        """Return the descriptor that a ring makes readable; -1 while there is none."""

    def answer(self) -> None:
        """Consume all rings so far."""

    def gone(self, workers: Iterable[str]) -> list[str]:
        """Return the named workers that are certainly dead."""

    def close(self) -> None:
        """Stop listening."""


def ring(connection: Connection) -> None:
    """Wake all workers when this transaction commits."""
    if connection.dialect.name == "sqlite":
        after_commit(connection, _socket_directory(connection.engine.url.database or "").ring)
    # On PostgreSQL the statement that enqueues has sent the notification.


def ring_for_waiting(connection: Connection) -> None:
    """Wake all workers when this transaction commits, although it enqueues nothing."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})
    else:
        ring(connection)


def listen(database: Database, worker: str) -> Doorbell:
    """Open the doorbell of the worker with this name."""
    if database.is_sqlite:
        return _SocketDoorbell(_socket_directory(database.url.database or ""), worker)
    return _NotifyDoorbell(database)


def listeners(database: Database) -> int:
    """How many workers of the database are alive now; a killed one is not counted.

    A live worker listens, except for some seconds after an outage of PostgreSQL.
    """
    if database.is_sqlite:
        return _socket_directory(database.url.database or "").count()
    with database.read() as connection:
        found = connection.execute(_LISTENERS, {"query": f"LISTEN {CHANNEL}"})
        return int(found.scalar_one())


_LISTENERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = :query"
)
"""A connection that listens runs no other statement, so LISTEN stays its latest query."""


class _SocketDirectory:
    """The directory of the workers' sockets."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def enter(self) -> Iterator[int]:
        """Open the directory; a path by way of ``/proc/self/fd`` is short enough for a socket."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def make(self) -> None:
        """Make the directory, accessible only to users who may use the database."""
        neighbours.make_directory(self._directory)

    def open_to_group(self, name: str, directory: int) -> None:
        """Let every user who may read the directory send to this socket."""
        found = os.fstat(directory)
        is_ours = found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if is_ours and found.st_mode & stat.S_IXGRP:  # no other user can have put a link there
            os.chown(name, -1, found.st_gid, dir_fd=directory, follow_symlinks=False)
            os.chmod(name, 0o660, dir_fd=directory)

    def is_empty(self, name: str) -> bool:
        """Whether no worker listens on that socket (any more)."""
        try:
            with self.enter() as directory, _sender() as sender:
                sender.sendto(b"", f"/proc/self/fd/{directory}/{name}")
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False  # its queue is full: the worker may be frozen
        return False

    def count(self) -> int:
        """The number of sockets on which a worker listens."""
        try:
            with self.enter() as directory:
                names = os.listdir(directory)  # noqa: PTH208 - of a descriptor
        except FileNotFoundError:
            return 0
        return sum(not self.is_empty(name) for name in names)

    def ring(self) -> None:
        """Wake every worker; remove the sockets of dead workers."""
        with (
            suppress(OSError),  # no worker has listened here yet, or we may not read the directory
            self.enter() as directory,
            _sender() as sender,
        ):
            for name in os.listdir(directory):  # noqa: PTH208 - of a descriptor
                try:
                    sender.sendto(b"", f"/proc/self/fd/{directory}/{name}")
                except ConnectionRefusedError:
                    # The API may not be allowed to remove it; the next worker is.
                    with suppress(FileNotFoundError, PermissionError):
                        os.unlink(name, dir_fd=directory)
                except OSError:
                    continue  # its queue is full (so it will wake), or it has just stopped


def _sender() -> socket.socket:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    return sender


def _socket_name(worker: str) -> str:
    return hashlib.sha256(worker.encode()).hexdigest()[:32]


@lru_cache(maxsize=16)
def _socket_directory(database_file: str) -> _SocketDirectory:
    return _SocketDirectory(Path(f"{database_file}.doorbell").absolute())


class _SocketDoorbell:
    def __init__(self, sockets: _SocketDirectory, worker: str) -> None:
        self._sockets = sockets
        self._name = _socket_name(worker)
        self._socket = _sender()
        sockets.make()
        with sockets.enter() as directory:
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=directory)  # left by an earlier worker of this name
            self._socket.bind(f"/proc/self/fd/{directory}/{self._name}")
            sockets.open_to_group(self._name, directory)

    def fileno(self) -> int:
        return self._socket.fileno()

    def answer(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(1)

    def gone(self, workers: Iterable[str]) -> list[str]:
        # With SQLite all workers are on this machine, and each listens as long as it lives.
        return [one for one in workers if self._sockets.is_empty(_socket_name(one))]

    def close(self) -> None:
        with suppress(FileNotFoundError), self._sockets.enter() as directory:
            os.unlink(self._name, dir_fd=directory)
        self._socket.close()


class _NotifyDoorbell:
    """A separate connection that listens; it is reopened when it breaks."""

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
        import psycopg  # not installed where only SQLite is used

        try:
            for _ in self._driver.notifies(timeout=0):
                pass
        except psycopg.Error:
            self.close()

    def gone(self, workers: Iterable[str]) -> list[str]:
        return []  # they may be on other machines: only their leases show who is dead

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
            log.warning("doorbell.listen_failed", error=str(error))
