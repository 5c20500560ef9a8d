"""Manila's routes, filters and fields, as names with the microversions at which they exist."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.api.frame.versions import ALWAYS, HIGHEST, LOWEST, minor
from tests.api.coverage import fields, methods

Range = tuple[int, int]


def manilas() -> dict[str, Range]:
    """All names (``declared.py`` says how they are written) with the first and last version."""
    return dict(_every())


def expected(span: Range) -> set[int]:
    """Those microversions of Atoll's that are in this range."""
    first, last = span
    return {version for version in range(LOWEST, HIGHEST + 1) if first <= version <= last}


def text(span: Range) -> str:
    """As it is written in the tables."""
    first, last = span
    return f"2.{first}" if last == ALWAYS else f"2.{first}-2.{last}"


def _every() -> Iterator[tuple[str, Range]]:
    for span, rest in _lines(methods.METHODS):
        yield rest, span
    for span, path in _lines(methods.WITH_METADATA):
        yield from ((name.format(path), span) for name in methods.METADATA)
    for span, rest in _lines(methods.ACTIONS):
        path, name = rest.split()
        yield f"POST {path}/action {name}", span
    for table, mark in ((fields.FILTERS, "?"), (fields.REQUESTS, "< "), (fields.ANSWERS, "> ")):
        for span, rest in _lines(table):
            place, _, names = rest.rpartition(": ")
            yield from ((f"{place} {mark}{name}", span) for name in names.split())


def _lines(table: str) -> Iterator[tuple[Range, str]]:
    for line in filter(None, table.splitlines()):
        versions, _, rest = line.partition(" ")
        first, _, last = versions.partition("-")
        yield (minor(first), minor(last) if last else ALWAYS), rest.strip()
