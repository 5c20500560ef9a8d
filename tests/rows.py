"""Rows of any table, as tests prepare and see them: behind the back of what is tested."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from atoll.db.database import utcnow_text

Row = dict[str, Any]


def get(connection: Connection, table: Table, row_id: str) -> Row | None:
    found = connection.execute(select(table).where(table.c.id == row_id)).mappings().first()
    return dict(found) if found is not None else None


def add(connection: Connection, table: Table, **values: Any) -> None:
    connection.execute(insert(table).values({"created_at": utcnow_text(), **values}))


def change(connection: Connection, table: Table, row_id: str, **values: Any) -> None:
    statement = update(table).where(table.c.id == row_id).values(updated_at=utcnow_text(), **values)
    assert connection.execute(statement).rowcount


def remove(connection: Connection, table: Table, row_id: str) -> None:
    connection.execute(delete(table).where(table.c.id == row_id))


def where(connection: Connection, table: Table, **values: Any) -> list[Row]:
    statement = select(table).order_by(table.c.created_at)
    for name, value in values.items():
        column = table.c[name]
        is_one_of = isinstance(value, tuple)
        statement = statement.where(column.in_(value) if is_one_of else column == value)
    return [dict(row) for row in connection.execute(statement).mappings()]
