"""Bearer tokens: 256 random bits, shown once; the database keeps only their SHA-256.

A plain hash is enough because a token, unlike a password, can't be guessed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from atoll.db.database import utcnow_text
from atoll.db.tables import projects, tokens
from atoll.errors import Conflict, Invalid, NotFound
from atoll.model.records import Token

ROLES = ("admin", "member", "reader")
SHORTEST_PREFIX = 8
"""Fewest digits of a hash that identify a token."""
HASH_DIGITS = 12
"""Number of digits of a hash that are shown."""
_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Bearer:
    """The user, project and roles of a token."""

    project_id: str
    user_id: str
    roles: tuple[str, ...]
    held: bool = False
    """Whether the token came with a restored backup, and may have been revoked since."""


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
    """Make a token and return it. It can't be read again later.

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
    """The user, project and roles of the token; None if it is unknown or has expired."""
    columns = (tokens.c.project_id, tokens.c.user_id, tokens.c.roles, tokens.c.held)
    statement = select(*columns).where(
        tokens.c.hash == _hash(token),
        or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > utcnow_text()),
    )
    found = connection.execute(statement).one_or_none()
    if found is None:
        return None
    return Bearer(found.project_id, found.user_id, tuple(found.roles), found.held)


def every(connection: Connection, project_id: str | None = None) -> list[Token]:
    """All tokens, or those of a project, oldest first, identified by their ``hash``.

    ``project`` is the project's name, or its id if the project is unknown.
    """
    name = func.coalesce(projects.c.name, tokens.c.project_id).label("project")
    statement = (
        select(tokens, name)
        .outerjoin(projects, projects.c.id == tokens.c.project_id)
        .order_by(tokens.c.created_at, tokens.c.hash)
    )
    if project_id is not None:
        statement = statement.where(tokens.c.project_id == project_id)
    return [cast(Token, dict(row)) for row in connection.execute(statement).mappings()]


def meant(connection: Connection, name_or_hash: str, project_id: str | None = None) -> list[Token]:
    """The tokens with this name, or whose hash begins with it (at least 8 digits), oldest first.

    A complete hash means only that token, even if another has it as its name. Raises ``NotFound``.
    """
    found = every(connection, project_id)
    start = name_or_hash.lower()
    exact = [row for row in found if row["hash"] == start]
    same = exact or [
        row
        for row in found
        if row["name"] == name_or_hash
        or (len(start) >= SHORTEST_PREFIX and row["hash"].startswith(start))
    ]
    if not same:
        where = " in this project" if project_id is not None else ""
        raise NotFound(
            f"There is no token {name_or_hash}{where}.",
            hint=f"Give a token's whole name, or at least {SHORTEST_PREFIX} digits of its hash.",
        )
    return same


def revoke(
    connection: Connection,
    name_or_hash: str,
    *,
    project_id: str | None = None,
    all_of_them: bool = False,
) -> list[Token]:
    """Revoke the token with this name or hash (8 digits are enough); return what was revoked.

    Several tokens may have the same name. Then, unless ``all_of_them`` is set, ``Conflict`` is
    raised, which lists them. Raises ``NotFound`` if there is no such token.
    """
    same = meant(connection, name_or_hash, project_id)
    if len(same) > 1 and not all_of_them:
        raise Conflict(
            f"{len(same)} tokens are called {name_or_hash}, so none was revoked:\n"
            + "\n".join(f"  {described(row)}" for row in same[:_MOST_SHOWN])
            + (f"\n  and {len(same) - _MOST_SHOWN} more" if len(same) > _MOST_SHOWN else "")
            + "\n",
            hint="Give the hash of one of them, or --project, or --all to revoke all of them.",
        )
    gone = [row["hash"] for row in same]
    connection.execute(delete(tokens).where(tokens.c.hash.in_(gone)))
    return same


def hold(connection: Connection) -> None:
    """Mark all tokens as having come with a restored backup, so that none of them is accepted."""
    connection.execute(update(tokens).values(held=True))


def held(connection: Connection) -> list[Token]:
    """The tokens that came with a restored backup, oldest first."""
    return [row for row in every(connection) if row["held"]]


def release(connection: Connection, *, keep: bool) -> None:
    """Accept the tokens that came with a restored backup again; revoke them unless ``keep``."""
    if keep:
        connection.execute(update(tokens).where(tokens.c.held).values(held=False))
    else:
        connection.execute(delete(tokens).where(tokens.c.held))


def described(row: Token) -> str:
    """One line that describes a token, without the token itself."""
    roles = ", ".join(row["roles"])
    return (
        f"{row['hash'][:HASH_DIGITS]} ({row['name']}: {roles} in project {row['project']}, "
        f"made {row['created_at'][:19]})"
    )
