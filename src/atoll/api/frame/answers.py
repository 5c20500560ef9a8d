"""What a route says of its answer and of its query string, for the OpenAPI document.

Nothing here is used to answer a request. The shape of an answer (its *kind*) is one of

* a ``View``: an object with the view's fields at the microversion,
* a type: what msgspec's JSON schema says of it,
* a list with one kind in it: a list of such things; ``EMPTY``: a list that is always empty,
* a dictionary: an object with these keys; a key whose kind is a ``Part`` may be absent,
* ``Either`` or ``Both`` of several kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

from atoll.api.frame.filters import Filters
from atoll.api.frame.paging import ALIASES, Link, Params
from atoll.api.frame.versions import minor
from atoll.api.frame.views import View

Kind = Any


class _Empty:
    """The kind of a list that is always empty."""


EMPTY: Final = _Empty()


@dataclass(frozen=True, slots=True)
class Part:
    """A key that an answer may lack, and that it never has below ``since``."""

    kind: Kind
    since: str = "2.0"


@dataclass(frozen=True, slots=True)
class Either:
    """One of several kinds."""

    kinds: tuple[Kind, ...]

    def __init__(self, *kinds: Kind) -> None:
        object.__setattr__(self, "kinds", kinds)


@dataclass(frozen=True, slots=True)
class Both:
    """An object with the keys of several kinds."""

    kinds: tuple[Kind, ...]

    def __init__(self, *kinds: Kind) -> None:
        object.__setattr__(self, "kinds", kinds)


def listed(key: str, view: View, *, links: str = "", count_since: str | None = None) -> Kind:
    """A list in pages, under its key, with the link to the next page.

    ``links`` is the link's key where Manila does not derive it from the list's key.
    """
    answer: dict[str, Kind] = {key: [view], links or f"{key}_links": Part(list[Link])}
    if count_since is not None:
        answer["count"] = Part(int, count_since)
    return answer


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query string."""

    name: str
    kind: Kind = str
    since: int = 0
    required: bool = False


def parameter(
    name: str, kind: Kind = str, *, since: str = "2.0", required: bool = False
) -> Parameter:
    """A parameter that is no filter of the table."""
    return Parameter(name, kind, minor(since), required)


@dataclass(frozen=True, slots=True)
class QueryString:
    """The query string that a route reads: its table of filters, its pages, and what else."""

    filters: Filters | None = None
    sort: tuple[str, ...] = ()
    more: tuple[Parameter, ...] = ()

    def parameters(self, version: int) -> list[Parameter]:
        """All parameters that count at a version."""
        found = [] if self.filters is None else list(_filters(self.filters))
        found += self.more
        if self.sort:
            found += [Parameter("limit", int), Parameter("offset", int), Parameter("marker")]
            found += [Parameter("sort_key", _one_of(_sort_keys(self.sort)))]
            found += [Parameter("sort_dir", _one_of(("asc", "desc")))]
        return [one for one in found if one.since <= version]


@dataclass(frozen=True, slots=True)
class OneOf:
    """The kind of a text that is one of these."""

    words: tuple[str, ...]


def _one_of(words: Iterable[str]) -> OneOf:
    return OneOf(tuple(words))


def _sort_keys(sort: tuple[str, ...]) -> list[str]:
    return [*sort, *(alias for alias, key in ALIASES.items() if key in sort and alias not in sort)]


def _filters(filters: Filters) -> Iterable[Parameter]:
    for one in filters.declared:
        yield Parameter(one.name, _kind_of(one.read), one.since)


def _kind_of(read: Callable[[Params, str], Any]) -> Kind:
    """Whether a filter reads a number, a boolean or a text, by what its function returns."""
    returned = get_type_hints(read).get("return")
    return returned if returned in (int, bool) else str


@dataclass(frozen=True, slots=True)
class Described:
    """What a route declares for the document only."""

    answers: Kind = None
    """The kind of the answer; None: the answer has no body."""
    query: QueryString | None = None
    takes: Kind = None
    """The kind of the request's body, where the handler takes an unspecific object."""
    refuses: bool = False
    """The route never does what it is for, but says why not."""


NOTHING: Final = Described()
OF_EVERYBODY: Final = (
    parameter("all_tenants", bool),
    parameter("all_projects", bool),
    parameter("project_id"),
)
"""Whose things are listed."""
