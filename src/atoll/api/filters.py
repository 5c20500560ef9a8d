"""Filters of lists, declared in a table: which parameters count, since when, and for whom."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from atoll.api.call import Call
from atoll.api.paging import Params, boolean, one
from atoll.api.versions import minor
from atoll.errors import Invalid

_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Filter:
    """One query parameter that limits a list; ``column`` is what it is compared with."""

    name: str
    column: str
    since: int
    admin: bool
    read: Callable[[Params, str], Any]


def filter_by(
    name: str,
    column: str | None = None,
    *,
    since: str = "2.0",
    admin: bool = False,
    read: Callable[[Params, str], Any] = one,
) -> Filter:
    """A filter on the column of the same name, unless another is given."""
    return Filter(name, column or name.removesuffix("~"), minor(since), admin, read)


class Filters:
    """The filters of one resource's list; unknown parameters are ignored, as in the field."""

    def __init__(self, *filters: Filter) -> None:
        self._filters = filters

    def equal(self, call: Call) -> dict[str, Any]:
        """Columns and the values they must have."""
        return self._read(call, lambda name: not name.endswith("~"))

    def like(self, call: Call) -> dict[str, str]:
        """Columns and what they must contain (``name~=…``)."""
        return self._read(call, lambda name: name.endswith("~"))

    def _read(self, call: Call, chosen: Callable[[str], bool]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for each in self._filters:
            if (
                chosen(each.name)
                and each.name in call.request.params
                and each.since <= call.version
                and (call.sees_all or not each.admin)
            ):
                found[each.column] = each.read(call.request.params, each.name)
        return found


def flag(params: Params, name: str) -> bool:
    """A filter's value that is true or false."""
    return boolean(params, name)


def mapping(params: Params, name: str) -> Mapping[str, str]:
    """A dictionary in a parameter: JSON, or Python's notation as the field's clients write it.

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
    return {str(key): str(item) for key, item in value.items()}
