"""The statements that every resource needs: get, require, lock, add, change, remove, find.

Each module of a resource makes a ``Rows`` for its table, and exports its methods under the same
names. Records are typed by ``model.records``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from atoll.db import pages
from atoll.db.database import utcnow_text
from atoll.errors import NotFound

R = TypeVar("R", bound=Mapping[str, Any])


class Rows(Generic[R]):
    """The rows of one table, found by their ``id``."""

    def __init__(self, table: Table, noun: str) -> None:
        """``noun`` is what users call such a resource: "Share", "Share network"."""
        self._table = table
        self._noun = noun
        self._absent = {column.name: None for column in table.c if column.nullable}
        self._get = select(table).where(table.c.id == bindparam("row_id"))
        self._lock = self._get.with_for_update()
        self._insert = insert(table)

    def get(self, connection: Connection, row_id: str, /) -> R | None:
        """The record, or None if there is none."""
        found = connection.execute(self._get, {"row_id": row_id}).mappings().first()
        return cast(R, dict(found)) if found is not None else None

    def require(self, connection: Connection, row_id: str, /) -> R:
        """The record. Raises ``NotFound``, with the resource's name, if there is none."""
        found = self.get(connection, row_id)
        if found is None:
            raise NotFound(f"{self._noun} {row_id[:64]} could not be found.")
        return found

    def lock(self, connection: Connection, row_id: str, /) -> R | None:
        """The record, locked until this write transaction ends, or None."""
        found = connection.execute(self._lock, {"row_id": row_id}).mappings().first()
        return cast(R, dict(found)) if found is not None else None

    def add(self, connection: Connection, values: R, /) -> R:
        """Insert a row and return its record; ``created_at`` is the present time unless given."""
        row = {**self._absent, "created_at": utcnow_text(), **values}
        connection.execute(self._insert, row)
        return cast(R, row)

    def change(self, connection: Connection, row_id: str, values: R, /) -> bool:
        """Update columns, and ``updated_at``; return False if there is no such row."""
        return self.change_where(connection, [self._table.c.id == row_id], values) > 0

    def change_where(
        self, connection: Connection, conditions: Sequence[ColumnElement[bool]], values: R, /
    ) -> int:
        """Update all rows that meet the conditions, and their ``updated_at``; return how many."""
        statement = update(self._table).where(*conditions)
        changed = connection.execute(statement.values({"updated_at": utcnow_text(), **values}))
        return changed.rowcount

    def remove(self, connection: Connection, row_id: str, /) -> None:
        """Delete the row, if it exists."""
        connection.execute(delete(self._table).where(self._table.c.id == row_id))

    def where(self, connection: Connection, values: R | None = None, /) -> list[R]:
        """The records with these values, or all records, oldest first."""
        statement = select(self._table).order_by(self._table.c.created_at)
        statement = statement.where(*pages.equal(self._table, values or {}))
        return [cast(R, dict(row)) for row in connection.execute(statement).mappings()]

    def conditions(
        self,
        equal: Mapping[str, Any],
        like: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> list[ColumnElement[bool]]:
        """Conditions: columns equal values or contain texts, and the metadata has items."""
        return [
            *pages.equal(self._table, equal),
            *pages.like(self._table, like or {}),
            *pages.has_metadata(self._table, metadata or {}),
        ]

    def count(self, connection: Connection, conditions: Sequence[ColumnElement[bool]], /) -> int:
        """How many records meet the conditions, on all pages."""
        return pages.count(connection, self._table, conditions)

    def find(
        self,
        connection: Connection,
        conditions: Sequence[ColumnElement[bool]],
        page: pages.Wanted,
        /,
    ) -> tuple[list[R], bool]:
        """A page of the records that meet the conditions, and whether there are more pages."""
        found, more = pages.find(connection, self._table, conditions, page)
        return cast(list[R], found), more
