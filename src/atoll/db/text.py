"""Searches and sorts text in the same way on SQLite and on PostgreSQL.

The databases differ: only PostgreSQL's ``LIKE`` is case-sensitive, only PostgreSQL sorts names by
the rules of a locale, and SQLite's JSON paths can't express every key.
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Connection, String, collate, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from atoll.db.tables import ID, TIME

_SMALL: Final = str.maketrans(ascii_uppercase, ascii_lowercase)


class _Contains(FunctionElement[bool]):
    """Whether a column contains a text of lower-case letters."""

    type = Boolean()
    inherit_cache = True


class _HasItem(FunctionElement[bool]):
    """Whether the object in a JSON column has a key with a text as its value."""

    type = Boolean()
    inherit_cache = True


def contains(column: ColumnElement[Any], part: str) -> ColumnElement[bool]:
    """A condition that the column contains this part, ignoring the case of the letters a to z.

    The case of other letters matters, because the databases treat it differently.
    """
    return _Contains(column, literal(part.translate(_SMALL)))


def has_item(column: ColumnElement[Any], key: str, value: str) -> ColumnElement[bool]:
    """A condition that the object in this JSON column has this key with this text."""
    return _HasItem(column, literal(key), literal(value))


def in_order(
    connection: Connection, column: ColumnElement[Any], key: ColumnElement[Any]
) -> ColumnElement[Any]:
    """The sort key ``key``, made of ``column``, in the order of code points."""
    of_fixed_form = column.type is ID or column.type is TIME  # all collations sort these alike
    if connection.dialect.name == "sqlite" or of_fixed_form:
        return key
    return collate(key, "C") if isinstance(column.type, String) else key


@compiles(_Contains, "sqlite")
def _contains_on_sqlite(element: _Contains, compiler: SQLCompiler, **options: Any) -> str:
    column, part = (compiler.process(each, **options) for each in element.clauses)
    return f"(instr(lower({column}), {part}) > 0)"


@compiles(_Contains, "postgresql")
def _contains_on_postgresql(element: _Contains, compiler: SQLCompiler, **options: Any) -> str:
    column, part = (compiler.process(each, **options) for each in element.clauses)
    letters = f"'{ascii_uppercase}', '{ascii_lowercase}'"
    return f"(strpos(translate({column}, {letters}), {part}) > 0)"


@compiles(_HasItem, "sqlite")
def _has_item_on_sqlite(element: _HasItem, compiler: SQLCompiler, **options: Any) -> str:
    column, key, value = (compiler.process(each, **options) for each in element.clauses)
    # Only names of columns and of bound parameters are inserted here.
    pairs = f"SELECT 1 FROM json_each({column}) AS pair"  # noqa: S608
    return f"EXISTS ({pairs} WHERE pair.key = {key} AND pair.value = {value})"


@compiles(_HasItem, "postgresql")
def _has_item_on_postgresql(element: _HasItem, compiler: SQLCompiler, **options: Any) -> str:
    column, key, value = (compiler.process(each, **options) for each in element.clauses)
    return f"(({column} ->> CAST({key} AS TEXT)) = {value})"
