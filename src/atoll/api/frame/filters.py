"""Filters of lists, declared in a table: which parameters count, since when, and for whom."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from atoll.api.frame.call import Call
from atoll.api.frame.columns import Of, check
from atoll.api.frame.paging import Params, integer, one
from atoll.api.frame.versions import minor
from atoll.errors import Invalid
from atoll.model.states import Status

_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Filter:
    """One query parameter that limits a list; ``column`` is what it is compared with.

    Without a column the filter is for something that no resource of Atoll's has, so no row passes.
    ``rule`` is the policy rule that allows filtering by it; None: everybody may.
    """

    name: str
    column: str | None
    since: int
    rule: str | None
    read: Callable[[Params, str], Any]


def filter_by(
    name: str,
    column: str | None = None,
    *,
    since: str = "2.0",
    rule: str | None = None,
    read: Callable[[Params, str], Any] = one,
) -> Filter:
    """A filter on the column of the same name, unless another is given."""
    return Filter(name, column or name.removesuffix("~"), minor(since), rule, read)


def nothing_has(name: str, *, since: str = "2.0") -> Filter:
    """A filter of Manila's that no row can pass, whatever its value is."""
    return Filter(name, None, minor(since), None, one)


TEXTS = (
    filter_by("name"),
    filter_by("display_name", "name"),
    filter_by("description", since="2.36"),
    filter_by("display_description", "description", since="2.36"),
    filter_by("name~", since="2.36"),
    filter_by("display_name~", "name", since="2.36"),
    filter_by("description~", since="2.36"),
    filter_by("display_description~", "description", since="2.36"),
)
"""Filters by name and description, which clients may call by the names of Manila's columns."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a list is filtered by: columns' values, texts that they contain, or nothing passes."""

    equal: Mapping[str, Any]
    like: Mapping[str, str]
    is_empty: bool
    """Whether there is a filter that no row can pass."""


class Filters:
    """The filters of one resource's list; unknown parameters are ignored, as in Manila."""

    def __init__(self, of: Of, *filters: Filter) -> None:
        """``of`` is the record type of the rows. Raises ``ConfigurationError``."""
        check(of, (each.column for each in filters if each.column is not None))
        self.declared = filters

    def query(self, call: Call) -> Query:
        """What the request filters by. Raises ``Forbidden`` where policy does not allow it."""
        params = call.request.params
        equal: dict[str, Any] = {}
        like: dict[str, str] = {}
        is_empty = False
        for each in self.declared:
            if each.name not in params or each.since > call.version:
                continue
            if each.column is None:
                is_empty = True
                continue
            if each.rule is not None:
                call.enforce(rule=each.rule)
            chosen = like if each.name.endswith("~") else equal
            chosen[each.column] = each.read(params, each.name)
        return Query(equal, like, is_empty)


def status_of(statuses: type[Status]) -> Callable[[Params, str], tuple[Status, ...]]:
    """Reads a status, in all forms in which it is stored."""
    return lambda params, name: statuses.stored_as(one(params, name) or "")


def number(params: Params, name: str) -> int:
    """A whole number; one below 0 is -1, which no row has. Raises ``Invalid``, also for none."""
    text = (one(params, name) or "").strip()
    digits = text.removeprefix("-")
    if digits != text and digits.isascii() and digits.isdigit() and digits.strip("0"):
        return -1
    if not text:
        raise Invalid(f"The parameter {name} must be a whole number, and is empty.")
    return integer(params, name)


def mapping(params: Params, name: str) -> Mapping[str, str]:
    """A dictionary in a parameter: JSON, or Python's notation as Manila's clients write it.

    Raises ``Invalid``.
    """
    text = one(params, name)
    if not text:
        return {}
    wrong = Invalid(f"The parameter {name} must be a dictionary of strings.")
    if len(text) > _LONGEST:
        raise wrong
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise wrong from None
    if not isinstance(value, dict):
        raise wrong
    try:
        return {_word(key): _word(item) for key, item in value.items()}
    except ValueError:  # also Python's own, for numbers with thousands of digits
        raise wrong from None


def _word(value: Any) -> str:
    """The text of a key or a value. Raises ``ValueError`` for what no database could hold."""
    if not isinstance(value, str | int | float | None):
        raise ValueError("neither text, number nor boolean")
    text = str(value)
    if "\0" in text:
        raise ValueError("a NUL character")
    text.encode()  # a lone half of a surrogate pair can't be
    return text
