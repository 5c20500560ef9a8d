"""Pages of lists: ``limit``, ``offset``, ``marker``, sorting, and the link to the next page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict, TypeVar
from urllib.parse import urlencode

from atoll.capabilities import yes_or_no
from atoll.errors import Invalid

R = TypeVar("R", bound=Mapping[str, Any])
Params = Mapping[str, Any]

LARGEST: Final = 2**63 - 1
"""The largest integer that both databases take. Any offset as large is beyond a list's end."""
ALIASES: Final = {
    "display_name": "name",
    "display_description": "description",
    "availability_zone_id": "availability_zone",
    "volume_type_id": "share_type_id",
    "share_type": "share_type_id",
    "share_network": "share_network_id",
    "snapshot": "snapshot_id",
}
"""Sort keys that clients know by the names of Manila's own columns."""


class Link(TypedDict):
    """Where a resource, or the next page of a list, is."""

    rel: str
    href: str


def one(params: Params, name: str) -> str | None:
    """A parameter's value; of one that was given several times, the last."""
    value = params.get(name)
    if isinstance(value, list):
        value = value[-1]
    if value is not None and "\0" in value:
        raise Invalid(f"The parameter {name} contains a NUL character.")
    return value


def boolean(params: Params, name: str, default: bool = False) -> bool:
    """A parameter that says yes or no, in any of Manila's spellings. Raises ``Invalid``."""
    value = one(params, name)
    if value is None:
        return default
    said = yes_or_no(value)
    if said is None:
        raise Invalid(f"The parameter {name} must be true or false, not {value[:40]!r}.")
    return said


def integer(params: Params, name: str, default: int = 0) -> int:
    """A parameter that is a whole number from 0, however large. Raises ``Invalid``.

    More than ``LARGEST`` is given as ``LARGEST``.
    """
    value = one(params, name)
    if value is None or value == "":
        return default
    digits = value.strip().removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        raise Invalid(f"The parameter {name} must be a whole number from 0, not {value[:40]!r}.")
    digits = digits.lstrip("0") or "0"
    # Python itself refuses to read numbers of thousands of digits.
    return min(int(digits), LARGEST) if len(digits) <= len(str(LARGEST)) else LARGEST


def is_set(params: Params, name: str) -> bool:
    """A flag that also says yes when it has no value (``?all_tenants``)."""
    return one(params, name) == "" or boolean(params, name)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for, in which order."""

    limit: int
    offset: int = 0
    marker: str | None = None
    sort_key: str = "created_at"
    descending: bool = True

    @classmethod
    def of(
        cls,
        params: Params,
        sortable: Iterable[str],
        largest: int,
        *,
        sort_key: str = "created_at",
        descending: bool = True,
    ) -> Page:
        """From a query string; ``largest`` is what a page holds at most. Raises ``Invalid``."""
        limit = integer(params, "limit")
        key = one(params, "sort_key") or sort_key
        key = ALIASES.get(key, key)
        if key not in (keys := tuple(sortable)):
            raise Invalid(f"Lists can be sorted by {', '.join(keys)}, not by {key[:40]!r}.")
        direction = (one(params, "sort_dir") or ("desc" if descending else "asc")).lower()
        if direction not in ("asc", "desc"):
            raise Invalid(f"sort_dir must be asc or desc, not {direction[:40]!r}.")
        return cls(
            limit=min(limit, largest) or largest,
            offset=integer(params, "offset"),
            marker=one(params, "marker") or None,
            sort_key=key,
            descending=direction == "desc",
        )


def link(url: str, params: Params, marker: str) -> list[Link]:
    """``<collection>_links`` with the next page, which starts behind ``marker``."""
    kept = {name: value for name, value in params.items() if name not in ("marker", "offset")}
    query = urlencode({**kept, "marker": marker}, doseq=True)
    return [{"rel": "next", "href": f"{url}?{query}"}]


def cut(rows: Sequence[R], page: Page, key: Callable[[R], Any]) -> tuple[Sequence[R], bool]:
    """A page of a short list that is all in memory, and whether there is more behind it."""
    ordered = sorted(rows, key=key, reverse=page.descending)
    start = page.offset
    if page.marker is not None:
        ids = [row["id"] for row in ordered]
        if page.marker not in ids:
            raise Invalid(f"The marker {page.marker[:64]} could not be found.")
        start += ids.index(page.marker) + 1
    end = start + page.limit
    return ordered[start:end], len(ordered) > end
