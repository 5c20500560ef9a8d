"""The documentation's pages, as the tests read them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)

_FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#.*$", re.MULTILINE)
_SPAN = re.compile(r"`((?:atoll|openstack share|make) [^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

_BEFORE = ("sudo", "uv", "run", "export")
"""What may stand before a command that is run."""


def links(page: Path) -> list[str]:
    """Where a page's links lead to, outside of code."""
    text = re.sub(r"`[^`\n]*`", "", _FENCED.sub("", page.read_text(encoding="utf-8")))
    return _LINK.findall(text)


def anchors(page: Path) -> set[str]:
    """What can stand behind ``#``: the headings, as MyST and GitHub spell them."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[list[str]]:
    """Each command of a page's shell blocks, as words; also those within ``$(…)``, and in text."""
    text = page.read_text(encoding="utf-8")
    blocks = [block for _, language, block in _FENCED.findall(text) if language == "sh"]
    blocks += [
        span for span in _SPAN.findall(_HEADING.sub("", _FENCED.sub("", text))) if "…" not in span
    ]
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"\$\(|&&|\|", line):
                words = shlex.split(command.replace(")", " ").replace('"', ""), comments=True)
                while words and (words[0] in _BEFORE or "=" in words[0]):
                    del words[0]
                if words:
                    yield words
