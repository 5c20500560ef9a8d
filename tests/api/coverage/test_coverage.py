"""What Manila's API has and Atoll's lacks is listed by name, and the list only gets shorter.

    python -m tests.api.coverage.test_coverage

writes the list, from which a name goes when Atoll has it.
"""

from __future__ import annotations

from pathlib import Path

from tests.api.coverage.declared import declared
from tests.api.coverage.facts import Range, expected, manilas, text

MISSING = Path(__file__).parent / "missing.txt"
MOST = 257
"""How many lines the list has: this number only gets smaller."""


def lacking() -> list[str]:
    """What Atoll lacks, or has at other microversions than Manila."""
    have = declared()
    return [
        f"{name} ({text(span)})"
        for name, span in sorted(manilas().items())
        if not _is_there(span, have.get(name, set()))
    ]


def _is_there(span: Range, found: set[int]) -> bool:
    """Whether it is there at exactly Manila's versions."""
    wanted = expected(span)
    return bool(wanted) and wanted == found


def listed() -> list[str]:
    return MISSING.read_text(encoding="utf-8").splitlines()


def test_what_is_missing_is_listed() -> None:
    assert not set(lacking()) - set(listed())


def test_what_is_listed_is_missing() -> None:
    assert not set(listed()) - set(lacking()), "take these out of missing.txt"


def test_the_list_gets_no_longer() -> None:
    assert len(listed()) == MOST, "lower MOST with each name that goes"


if __name__ == "__main__":
    MISSING.write_text("".join(f"{line}\n" for line in lacking()), encoding="utf-8")
