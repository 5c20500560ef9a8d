"""Restores of this database from a backup, and whether an operator has released the last one.

A restored database does not know what was made, revoked or denied after its backup. Until the
restore is released, workers touch nothing that it does not know, tokens of the backup are refused,
and access rules of the backup admit nobody anew (decision 27).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection

from atoll.db import access_rules, facts, operations, owners, tokens
from atoll.db.database import utcnow_text

_RESTORES = "restores"
KNOWN_ORPHANS = "known_orphans"
"""The fact of ``known_orphans``."""


class Restore(msgspec.Struct, frozen=True):
    """One restore."""

    id: str
    began_at: str
    """When it was noticed (UTC, ISO 8601)."""
    why: str
    """How it was noticed: a sentence."""
    released_at: str = ""


def every(connection: Connection) -> list[Restore]:
    """All restores of this database that were noticed, oldest first."""
    value = facts.get(connection, _RESTORES)
    return [] if value is None else msgspec.json.decode(value, type=list[Restore])


def held(connection: Connection) -> Restore | None:
    """The restore that is not released yet, or None."""
    known = every(connection)
    return known[-1] if known and not known[-1].released_at else None


def begin(connection: Connection, why: str, *, again: bool = False) -> Restore:
    """Hold what the backup has brought, and return the restore.

    With a restore that is held already, nothing changes, unless the database was restored
    ``again``. Operations of the backup are dropped: after the release, workers request them again
    from the rows' states.
    """
    facts.lock(connection)
    present = held(connection)
    if present is not None and not again:
        return present
    begun = Restore(uuid.uuid4().hex[:16], utcnow_text(), why)
    tokens.hold(connection)
    access_rules.hold(connection, held=True)
    operations.drop_unfinished(connection, owners.RESOURCES)
    _put(connection, [*_released(connection), begun])
    return begun


def release(connection: Connection, *, keep_tokens: bool, orphans: Iterable[str]) -> None:
    """End the hold. ``orphans`` are the owners that the cloud knows and this database does not."""
    facts.lock(connection)
    tokens.release(connection, keep=keep_tokens)
    access_rules.hold(connection, held=False)
    _put(connection, _released(connection))
    know_orphans(connection, orphans)


def known_orphans(connection: Connection) -> set[str] | None:
    """Owners without a row whose things were in the cloud when it was last compared.

    None if it never was. An owner that is unknown and not among them was made by another database,
    or by this one before it was restored.
    """
    value = facts.get(connection, KNOWN_ORPHANS)
    return None if value is None else msgspec.json.decode(value, type=set[str])


def know_orphans(connection: Connection, orphans: Iterable[str]) -> None:
    """Store the owners for ``known_orphans``."""
    facts.put(connection, KNOWN_ORPHANS, msgspec.json.encode(sorted(set(orphans))).decode())


def _released(connection: Connection) -> list[Restore]:
    now = utcnow_text()
    return [
        one if one.released_at else msgspec.structs.replace(one, released_at=now)
        for one in every(connection)
    ]


def _put(connection: Connection, restores: list[Restore]) -> None:
    facts.put(connection, _RESTORES, msgspec.json.encode(restores).decode())
