"""The reference pages that are written from the code are what the code says now."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.docs.pages import DOCS, ROOT


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(DOCS))  # as Python does for the script's own directory
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DOCS))
    return module


GENERATOR = _generator()
STATES: Any = sys.modules["states_page"]


@pytest.mark.parametrize("page", GENERATOR.PAGES, ids=lambda page: page.name)
def test_page_is_current(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == GENERATOR.PAGES[page](), (
        "stale: run 'uv run python docs/generate.py'"
    )


def test_an_option_that_nothing_reads_says_so() -> None:
    """And one that says so is not read."""
    page = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
    options = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", page, re.MULTILINE)
    sources = [
        path.read_text(encoding="utf-8")
        for path in (ROOT / "src" / "atoll").rglob("*.py")
        if path.parent.name != "config"
    ]
    code = "\n".join(sources)
    read = {name for name, _ in options if re.search(rf"\b{name}\b", code)}
    unused = {name for name, meaning in options if meaning.startswith("Not used yet")}
    assert len(options) > 40
    assert unused == {name for name, _ in options} - read


RESOURCES = STATES.RESOURCES


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.title)
def test_every_state_that_atoll_uses_is_on_the_page(resource: Any) -> None:
    """And no other: the rest of Manila's statuses is only ever set by hand."""
    used = set(resource.next) | {state for states in resource.next.values() for state in states}
    for members in STATES.named_sets().values():
        used |= {state for state in members if isinstance(state, resource.states)}
    if not resource.next:
        used = set(resource.states)
    assert set(STATES.described(resource)) == used


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.title)
def test_what_the_page_says_of_a_state_agrees_with_what_may_follow(resource: Any) -> None:
    described = STATES.described(resource)
    assert set(resource.work) <= set(described)
    assert {*resource.at_work, *resource.goes} <= set(resource.work)
    for state, given_up in resource.given_up.items():
        assert given_up == state or given_up in resource.next[state]
