"""The reference pages that are written from the code are what the code says now."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import DOCS, ROOT


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()


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
