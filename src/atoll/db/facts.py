"""Facts about the whole deployment, by key, in the table ``deployment``."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, text, update

from atoll.db.tables import deployment


def lock(connection: Connection) -> None:
    """Prevent other processes from writing facts until the transaction ends.

    Otherwise several processes that start at once could all find a new database empty and fill it.
    SQLite needs no lock, because it has only one write transaction at a time.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE deployment IN SHARE ROW EXCLUSIVE MODE"))


def get(connection: Connection, key: str) -> str | None:
    """The value of a fact, or None."""
    statement = select(deployment.c.value).where(deployment.c.key == key)
    return connection.execute(statement).scalar_one_or_none()


def put(connection: Connection, key: str, value: str) -> None:
    """Store a fact, and replace its former value."""
    same = deployment.c.key == key
    if not connection.execute(update(deployment).where(same).values(value=value)).rowcount:
        connection.execute(insert(deployment).values(key=key, value=value))


def remove(connection: Connection, key: str) -> None:
    """Delete a fact, if it exists."""
    connection.execute(delete(deployment).where(deployment.c.key == key))
