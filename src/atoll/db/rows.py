"""One row by its id: the four statements that every resource needs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from atoll.db.database import utcnow_text

Row = dict[str, Any]


def get(connection: Connection, table: Table, row_id: str) -> Row | None:
    """The row as a dictionary, or None."""
    found = connection.execute(select(table).where(table.c.id == row_id)).mappings().first()
    return dict(found) if found is not None else None


def add(connection: Connection, table: Table, **values: Any) -> None:
    """Insert a row; ``created_at`` is now unless given."""
    connection.execute(insert(table).values({"created_at": utcnow_text(), **values}))


def change(connection: Connection, table: Table, row_id: str, **values: Any) -> bool:
    """Update a row and its ``updated_at``; False when there is no such row."""
    statement = update(table).where(table.c.id == row_id).values(updated_at=utcnow_text(), **values)
    return connection.execute(statement).rowcount > 0


def remove(connection: Connection, table: Table, row_id: str) -> None:
    """Delete a row; absent is fine."""
    connection.execute(delete(table).where(table.c.id == row_id))


def where(connection: Connection, table: Table, **values: Any) -> list[Row]:
    """The rows whose columns have these values, oldest first."""
    statement = select(table).order_by(table.c.created_at)
    for name, value in values.items():
        column = table.c[name]
        statement = statement.where(
            column.in_(value) if isinstance(value, tuple) else column == value
        )
    return [dict(row) for row in connection.execute(statement).mappings()]
