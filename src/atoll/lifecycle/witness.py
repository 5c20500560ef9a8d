"""Notices that the database was restored from an older backup.

Each state directory of a worker has a number, in the file ``witness`` and in the database. The
worker raises both now and then, the database's first. A database that has a lower number than the
file was restored, or has lost transactions in another way. The number belongs to one directory, so
that other workers, who raise their own, hide nothing.

A directory that is new, or has lost its file, has nothing to compare. Then the cloud may still have
things whose owners the database has never known.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Collection
from pathlib import Path

import msgspec
import structlog
from sqlalchemy import Connection

from atoll.db import facts, owners, restores
from atoll.db.database import Database
from atoll.lifecycle.orphans import Found

log = structlog.get_logger(__name__)

_OLDER = "The database is older than what this worker has seen of it."
_UNKNOWN = "The cloud has things of {owners} that the database has never known."
_NAMED = 5


class Seen(msgspec.Struct, frozen=True):
    """What a state directory has seen of a database."""

    id: str
    """Distinguishes this directory from those of other workers."""
    deployment: str
    restore: str
    """The last restore that the database knew of; empty if none."""
    number: int


class Witness:
    """The memory of one state directory. It can be used by many threads."""

    def __init__(self, database: Database, file: Path) -> None:
        self._database = database
        self._file = file
        self._lock = threading.Lock()

    def look(self) -> bool:
        """Compare, hold the database if it was restored, and raise the numbers.

        Returns whether there was something to compare.
        """
        with self._lock:
            before = read(self._file)  # first, because the file never is ahead of the database
            with self._database.begin() as connection:
                deployment = facts.get(connection, "id") or ""
                known = before is not None and before.deployment == deployment
                seen = before if known and before is not None else _new(deployment)
                if is_older(connection, seen):
                    restores.begin(connection, _OLDER, again=True)
                number = max(_number(connection, seen), seen.number) + 1
                facts.put(connection, _key(seen), str(number))
                last = _last_restore(connection)
            seen = msgspec.structs.replace(seen, restore=last, number=number)
            try:
                _write(self._file, seen)
            except OSError as error:  # the number in the file stays behind, which is harmless
                log.warning("witness.not_written", file=str(self._file), error=str(error))
            return known


def is_older(connection: Connection, seen: Seen) -> bool:
    """Whether the database is older than what a state directory has seen of it."""
    last = _last_restore(connection)
    if seen.restore != last:
        # Either a restore was noticed since, by another worker or an operator, or the backup is
        # older than a restore that this directory knows.
        return seen.restore not in ("", *(one.id for one in restores.every(connection)))
    return _number(connection, seen) < seen.number


def has_lost(connection: Connection, file: Path) -> bool:
    """Whether the database was restored, by what a file says. It changes nothing."""
    seen = read(file)
    if seen is None or seen.deployment != facts.get(connection, "id"):
        return False
    return is_older(connection, seen)


def note_unknown(connection: Connection, found: Found) -> bool:
    """Hold the database if the cloud has owners that it has never known; whether it does now.

    The first comparison of a database only takes down which ones there are.
    """
    present = {orphan.owner for orphan in found.orphans}
    kept = {orphan.owner for orphan in found.orphans if not orphan.may_go}
    known = restores.known_orphans(connection)
    unknown = sorted(owner for owner in kept - (known or set()) if _is_a_rows(owner))
    if known is not None and unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        named = ", ".join(unknown[:_NAMED]) + more
        restores.begin(connection, _UNKNOWN.format(owners=named))
    if found.unseen:  # those of a kind that could not be listed may still be there
        present |= known or set()
    if present != known:
        restores.know_orphans(connection, present)
    return known is not None and bool(unknown)


def read(file: Path) -> Seen | None:
    """What a file says; None if there is none, or it can't be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Seen)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("witness.not_read", file=str(file), error=str(error))
        return None


def _new(deployment: str) -> Seen:
    return Seen(uuid.uuid4().hex[:16], deployment, "", 0)


def _number(connection: Connection, seen: Seen) -> int:
    return int(facts.get(connection, _key(seen)) or 0)


def _key(seen: Seen) -> str:
    return f"witness/{seen.id}"


def _last_restore(connection: Connection) -> str:
    known = restores.every(connection)
    return known[-1].id if known else ""


def _is_a_rows(owner: str) -> bool:
    kinds: Collection[str] = owners.OWNERS
    return owner.partition("/")[0] in kinds


def _write(file: Path, seen: Seen) -> None:
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        written.write(msgspec.json.encode(seen))
        written.flush()
        os.fsync(written.fileno())
    draft.rename(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
