"""The records of all things that Atoll has made: a directory for each, with ``record.json``.

A record is written before the thing is made, and removed after the thing is gone, so a crash leaves
at most a record without a thing. The next run of the same verb finds it by its owner and continues.
Several processes share the records. They lock them by ``flock``, because the kernel releases a dead
process's locks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from atoll.errors import CloudNotFound, CloudUnavailable, OutOfCapacity

LOCK_SECONDS = 60.0
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Identified(Protocol):
    """Any record. It has an id, which is a UUID."""

    @property
    def id(self) -> str:
        """The thing's id."""


R = TypeVar("R", bound=Identified)


def is_id(text: str) -> bool:
    """Whether it has the form of an id. Nothing else is ever put into a path."""
    return _ID.fullmatch(text) is not None


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock on a file or directory that exists.

    Raises ``CloudUnavailable`` if another thread or process keeps it (such as a stopped worker).
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock(descriptor, path, seconds)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise CloudUnavailable(f"{path.name} is in use by another worker.") from None
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def write_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file's content so that a crash or power failure leaves the old or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfCapacity(f"The host's disk is full ({path.parent}).") from error
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Records(Generic[R]):
    """All things of one kind."""

    def __init__(self, directory: Path, kind: type[R]) -> None:
        self.directory = directory
        self._decoder = msgspec.json.Decoder(kind)
        # QEMU runs as another user, and may pass through the directory without listing it.
        directory.mkdir(parents=True, exist_ok=True, mode=0o711)

    def path(self, record_id: str) -> Path:
        """The thing's own directory."""
        return self.directory / record_id

    def get(self, record_id: str) -> R | None:
        """The record, or None if there is none (or the id is malformed)."""
        if not is_id(record_id):
            return None
        try:
            return self._decoder.decode((self.path(record_id) / "record.json").read_bytes())
        except FileNotFoundError:
            return None

    def expect(self, record_id: str) -> R:
        """The record. Raises ``CloudNotFound``."""
        record = self.get(record_id)
        if record is None:
            raise CloudNotFound(f"There is no {self.directory.name[:-1]} {record_id}.")
        return record

    def list(self) -> list[R]:
        """Every record."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.directory))
        except FileNotFoundError:
            return []  # a purge has just removed it
        return [record for name in names if (record := self.get(name)) is not None]

    def find(self, which: Callable[[R], bool]) -> R | None:
        """The first record that matches, or None."""
        return next((record for record in self.list() if which(record)), None)

    def find_or_create(self, which: Callable[[R], bool], make: Callable[[], R]) -> R:
        """The record that matches, or a new one. Callers at the same time never make two."""
        with locked(self.directory):
            found = self.find(which)
            if found is not None:
                return found
            record = make()
            fresh = self.directory / ".new"
            # A worker has died between the two steps below.
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o711)
            write_file(fresh / "record.json", msgspec.json.encode(record))
            fresh.rename(self.path(record.id))
            sync(self.directory)
            return record

    def put(self, record: R) -> R:
        """Replace a record that exists."""
        write_file(self.path(record.id) / "record.json", msgspec.json.encode(record))
        return record

    def delete(self, record_id: str) -> None:
        """Remove the thing's directory, its record first."""
        directory = self.path(record_id)
        (directory / "record.json").unlink(missing_ok=True)
        shutil.rmtree(directory, ignore_errors=True)

    @contextmanager
    def locked(self, record_id: str) -> Iterator[R]:
        """Hold the lock of one thing and read it. Raises ``CloudNotFound`` if it is gone."""
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.path(self.expect(record_id).id)))
            except FileNotFoundError:
                raise CloudNotFound(f"{record_id} was just deleted.") from None
            yield self.expect(record_id)
