"""What the set-up installs is all that the program and its tests call: none of these is skipped."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from atoll.cloud.local.doctor import PROGRAMS
from atoll.image import list_requirements
from harness import postgres
from tests.programs import (
    ESSENTIAL,
    MODULES,
    OPTIONAL,
    PACKAGES,
    ROOT,
    listed_packages,
    path_of,
)

SET_UP = "run 'make setup', which installs what scripts/apt-packages names"
CALLERS = ("tests", "harness", "demo", "bench")
_NEEDED = re.compile(r"\bneeds?\(([^)]*)\)")


def test_the_set_up_installs_what_tests_call() -> None:
    assert set(PACKAGES.values()) <= listed_packages()


def test_the_set_up_installs_what_the_program_calls() -> None:
    assert {*PROGRAMS.values(), *list_requirements()} - listed_packages() <= {"fakeroot", "uidmap"}


@pytest.mark.parametrize("program", sorted(PACKAGES))
def test_no_test_is_skipped_for_want_of_a_program(program: str) -> None:
    found = postgres.programs() if program == "postgres" else path_of(program)
    assert found, f"{program} is missing: {SET_UP}"


@pytest.mark.parametrize("module", MODULES)
def test_no_test_is_skipped_for_want_of_a_library(module: str) -> None:
    assert importlib.util.find_spec(module), f"{module} is missing: {SET_UP}"


def test_tests_call_only_programs_that_a_new_machine_has() -> None:
    """Programs that are called by name come from the listed packages, or are on every Debian."""
    known = {*PACKAGES, *OPTIONAL, *ESSENTIAL}
    for file in sorted(each for top in CALLERS for each in (ROOT / top).rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match call:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="subprocess")),
                    args=[ast.List(elts=[ast.Constant(value=program), *_]), *_],
                ):
                    assert program in known, f"{file}:{call.lineno}"


def test_tests_ask_for_programs_in_one_way_only() -> None:
    """Each skip for want of something is one that the tests above know."""
    known = set(PACKAGES) | set(OPTIONAL)
    for file in sorted((ROOT / "tests").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        for module in re.findall(r"(?:importorskip|find_spec)\(\"(\w+)\"", text):
            assert module in MODULES, file
        if file.name in ("programs.py", Path(__file__).name):
            continue
        assert not re.search(r"shutil\.which|not installed \(apt", text), file
        # Where tests need root they say so by the mark, by which 'make test' finds them.
        assert "geteuid() != 0" not in text or file == ROOT / "tests/conftest.py", file
        for words in _NEEDED.findall(text):
            assert set(re.findall(r'"([^"]+)"', words)) <= known, file
