"""The agent goes to instances as one text that an older Python must understand."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import atoll.guest.agent
from atoll.guest.payload import BOOTSTRAP, MODULES, agent_payload

FOLDER = Path(atoll.guest.agent.__file__).parent


def test_every_module_is_sent() -> None:
    assert set(MODULES) == {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}


def test_the_bootstrap_needs_no_quoting() -> None:
    assert re.fullmatch(r"[A-Za-z0-9.=;() ]+", BOOTSTRAP)


def test_the_length_comes_first() -> None:
    length, program = agent_payload().split(b"\n", 1)
    assert int(length) == len(program)


@pytest.mark.parametrize("module", MODULES)
def test_python_3_9_and_its_library_are_enough(module: str) -> None:
    tree = ast.parse((FOLDER / f"{module}.py").read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(alias.name in sys.stdlib_module_names for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert str(node.module).partition(".")[0] in sys.stdlib_module_names


def test_modules_are_sent_after_what_they_import() -> None:
    for number, module in enumerate(MODULES):
        for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                assert set(names) <= set(MODULES[:number])
