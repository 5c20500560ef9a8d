"""Bearer tokens: 256 random bits, shown once; the database keeps only their SHA-256.

A plain hash is enough because a token, unlike a password, can't be guessed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, or_, select

from atoll.db.database import utcnow_text
from atoll.db.rows import Row
from atoll.db.tables import tokens
from atoll.errors import Invalid, NotFound

ROLES = ("admin", "member", "reader")
_SHORTEST_PREFIX = 8


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a token speaks for."""

    project_id: str
    user_id: str
    roles: tuple[str, ...]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def create(
    connection: Connection,
    name: str,
    project_id: str,
    user_id: str,
    roles: Sequence[str],
    *,
    expires_at: str | None = None,
) -> str:
    """Make a token and return it: this is the only time that it can be read.

    ``expires_at`` is UTC, ISO 8601. Raises ``Invalid`` for a role that does not exist.
    """
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise Invalid(f"Roles are {', '.join(ROLES)}; not {', '.join(unknown) or 'none'}.")
    token = secrets.token_urlsafe(32)
    connection.execute(
        insert(tokens).values(
            hash=_hash(token),
            name=name,
            project_id=project_id,
            user_id=user_id,
            roles=list(roles),
            created_at=utcnow_text(),
            expires_at=expires_at,
        )
    )
    return token


def verify(connection: Connection, token: str) -> Bearer | None:
    """Who the token speaks for; None if it is unknown or has expired."""
    statement = select(tokens.c.project_id, tokens.c.user_id, tokens.c.roles).where(
        tokens.c.hash == _hash(token),
        or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > utcnow_text()),
    )
    found = connection.execute(statement).one_or_none()
    return Bearer(found[0], found[1], tuple(found[2])) if found is not None else None


def every(connection: Connection, project_id: str | None = None) -> list[Row]:
    """All tokens, or a project's, by age; a token is known by its ``hash``."""
    statement = select(tokens).order_by(tokens.c.created_at)
    if project_id is not None:
        statement = statement.where(tokens.c.project_id == project_id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def revoke(connection: Connection, name_or_hash: str) -> int:
    """Revoke the token of this hash (8 digits of it are enough), or all of this name; how many.

    Raises ``NotFound``.
    """
    same = tokens.c.name == name_or_hash
    if len(name_or_hash) >= _SHORTEST_PREFIX:
        same = or_(same, tokens.c.hash.startswith(name_or_hash, autoescape=True))
    gone = connection.execute(delete(tokens).where(same)).rowcount
    if not gone:
        raise NotFound(f"There is no token {name_or_hash}.")
    return gone
