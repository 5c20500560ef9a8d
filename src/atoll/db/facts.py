"""Facts about the deployment as a whole, by key; the table ``deployment``."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, text, update

from atoll.db.tables import deployment


def lock(connection: Connection) -> None:
    """Let no other process write facts until the transaction ends.

    Processes that start at once on a new database would all find it empty, and all fill it. On
    SQLite a transaction that writes is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE deployment IN SHARE ROW EXCLUSIVE MODE"))


def get(connection: Connection, key: str) -> str | None:
    """The fact, or None."""
    statement = select(deployment.c.value).where(deployment.c.key == key)
    return connection.execute(statement).scalar_one_or_none()


def put(connection: Connection, key: str, value: str) -> None:
    """Store the fact in place of what was known."""
    same = deployment.c.key == key
    if not connection.execute(update(deployment).where(same).values(value=value)).rowcount:
        connection.execute(insert(deployment).values(key=key, value=value))


def remove(connection: Connection, key: str) -> None:
    """Forget the fact. It may be absent."""
    connection.execute(delete(deployment).where(deployment.c.key == key))
