"""Commands in the pages exist, and links lead somewhere."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from atoll.cli.main import app
from tests.docs import pages
from tests.docs.pages import DOCS, PAGES, ROOT

EVERY_PAGE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", EVERY_PAGE, ids=_name)
def test_links_resolve(page: Path) -> None:
    for link in pages.links(page):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in pages.anchors(target), link


@pytest.mark.parametrize("page", EVERY_PAGE, ids=_name)
def test_atoll_commands_exist(page: Path) -> None:
    for program, *words in pages.commands(page):
        if program == "atoll" or program.endswith("bin/atoll"):
            _check(words)


def _check(words: list[str]) -> None:
    """Parse them as the program would, without running anything."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest, f"incomplete: {words}"
        assert rest[0] in command.commands, words
        command = command.commands[rest.pop(0)]
    command.make_context("atoll", rest)  # raises for an unknown option or a missing argument


@pytest.mark.parametrize("page", EVERY_PAGE, ids=_name)
def test_openstack_commands_exist(page: Path) -> None:
    known = {
        entry.name.replace("_", " ")
        for entry in importlib.metadata.entry_points(group="openstack.share.v2")
    }
    if not known:
        pytest.skip("the clients are not installed (uv sync --group clients)")
    for words in pages.commands(page):
        if words[0] == "openstack" and words[1] == "share":
            named = {" ".join(words[1:end]) for end in range(2, 6)}
            assert named & known, words


@pytest.mark.parametrize("page", EVERY_PAGE, ids=_name)
def test_make_targets_exist(page: Path) -> None:
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines()}
    for words in pages.commands(page):
        if words[0] == "make":
            assert words[1] in targets, words


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_of_the_repository_exist(page: Path) -> None:
    for words in pages.commands(page):
        for word in words:
            if word.startswith(("systemd/", "scripts/", "bench/", "docs/")):
                assert (ROOT / word).exists(), words


@pytest.mark.slow
def test_sphinx_has_no_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
