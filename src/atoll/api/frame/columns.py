"""The columns that views and filters may name: the keys of records, checked at import."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from atoll.errors import ConfigurationError

Of = type[Any] | Iterable["type[Any] | str"]
"""A record type of ``atoll.model.records``, or several of them with further names."""


def check(of: Of, columns: Iterable[str]) -> None:
    """Raise ``ConfigurationError`` for a column that is not a key of the record."""
    parts = _parts(of)
    known: set[str] = set()
    for part in parts:
        known |= {part} if isinstance(part, str) else _keys(part)
    for column in columns:
        if column not in known:
            names = ", ".join(map(_name, parts))
            raise ConfigurationError(f"A view or filter names {column}, which is not in {names}.")


def records(of: Of) -> tuple[type[Any], ...]:
    """The record types among what columns are of."""
    return tuple(part for part in _parts(of) if not isinstance(part, str))


def _parts(of: Of) -> tuple[type[Any] | str, ...]:
    return (of,) if isinstance(of, type) else tuple(of)


def _keys(record: type[Any]) -> frozenset[str]:
    keys: frozenset[str] = record.__required_keys__ | record.__optional_keys__
    return keys


def _name(part: type[Any] | str) -> str:
    return part if isinstance(part, str) else part.__name__
