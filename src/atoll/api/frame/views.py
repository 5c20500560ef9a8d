"""Versioned views: which fields a response has at which microversion, declared in a table.

A view names the record that it is of and lists ``Field``s; ``View.at(version, admin)`` gives the
compiled form for one version, which turns rows into dictionaries with as little Python a row as
possible. A column that the record does not have is an error at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, Final

from atoll.api.frame.columns import Of, check, records
from atoll.api.frame.versions import ALWAYS, LOWEST, minor, text
from atoll.model.features import REPORTED
from atoll.model.records import Share, ShareServer, Snapshot

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is the same for all rows."""

    value: Any


def shown_status(row: Share | Snapshot | ShareServer, _: Any) -> str:
    """The status without the mark of one that an administrator has set."""
    return row["status"].shown


Source = str | Constant | Callable[[Any, Any], Any]
"""A column's name, a constant, or a function of the row and what the handler gives (the scope)."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a response."""

    name: str
    source: Source
    since: int = LOWEST
    until: int = ALWAYS
    admin: bool = False
    kind: Any = None


def field(
    name: str,
    source: Source | None = None,
    *,
    since: str = text(LOWEST),
    until: str | None = None,
    admin: bool = False,
    kind: Any = None,
) -> Field:
    """A field from its column (of the same name, unless another is given) or a function.

    ``kind`` says what the field is (see ``answers.py``) where neither the record's type nor the
    function's annotation does.
    """
    last = minor(until) if until is not None else ALWAYS
    return Field(name, source if source is not None else name, minor(since), last, admin, kind)


def constant(
    name: str, value: Any, *, since: str = text(LOWEST), until: str | None = None
) -> Field:
    """A field that has this value for all rows."""
    return field(name, Constant(value), since=since, until=until)


def reported(name: str, *, since: str) -> Field:
    """A field that shows what the driver reports under this name."""
    return constant(name, REPORTED[name], since=since)


class Shape:
    """A view at one version: rows in, dictionaries out."""

    def __init__(self, fields: Sequence[Field]) -> None:
        # All keys with the constants' values, so that a copy only has to be filled.
        self._blank: dict[str, Any] = {
            one.name: one.source.value if isinstance(one.source, Constant) else None
            for one in fields
        }
        plain = [(one.name, one.source) for one in fields if isinstance(one.source, str)]
        self._names = tuple(name for name, _ in plain)
        columns = tuple(source for _, source in plain)
        self._get: Callable[[Row], Any] = (
            itemgetter(*columns)
            if len(columns) > 1
            else lambda row: tuple(row[column] for column in columns)
        )
        computed: dict[Any, list[str]] = {}
        for one in fields:
            if not isinstance(one.source, str | Constant):
                computed.setdefault(one.source, []).append(one.name)
        self._computed = tuple((names[0], compute) for compute, names in computed.items())
        # Fields with the same function, such as those with an older name, have the same value.
        self._copied = tuple((copy, name) for name, *copies in computed.values() for copy in copies)

    def one(self, row: Row, scope: Any = None) -> dict[str, Any]:
        """One row as the client sees it."""
        shown = self._blank.copy()
        shown.update(zip(self._names, self._get(row), strict=True))
        for name, compute in self._computed:
            shown[name] = compute(row, scope)
        for copy, name in self._copied:
            shown[copy] = shown[name]
        return shown

    def many(self, rows: Iterable[Row], scope: Any = None) -> list[dict[str, Any]]:
        """Many rows as the client sees them."""
        return [self.one(row, scope) for row in rows]


class View:
    """The fields of a resource over all versions."""

    def __init__(self, of: Of, *fields: Field, called: str = "", values: Any = None) -> None:
        """``of`` is the record type of the rows. Raises ``ConfigurationError``.

        For the OpenAPI document: ``called`` is the name of the view's schema, where it is not the
        record's name; ``values`` is the kind of all fields whose type no record says.
        """
        check(of, (one.source for one in fields if isinstance(one.source, str)))
        self.fields: Final = fields
        self.records: Final[tuple[Any, ...]] = records(of)
        self.values: Final = values
        self.name: Final = called or next((one.__name__ for one in self.records), "")
        self.at = cache(self._at)

    def _at(self, version: int, admin: bool = False) -> Shape:
        """The view at a version; ``admin`` adds what only administrators see."""
        return Shape(
            [
                one
                for one in self.fields
                if one.since <= version <= one.until and (admin or not one.admin)
            ]
        )
