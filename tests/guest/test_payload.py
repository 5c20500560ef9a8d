"""The agent goes to instances compiled, and as text that an older Python must understand."""

from __future__ import annotations

import ast
import json
import re
import subprocess
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


def test_another_python_compiles_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    hello = json.dumps({"id": 1, "verb": "health", "args": {}, "deadline": 5}).encode() + b"\n"
    monkeypatch.setattr("atoll.guest.payload.MAGIC_NUMBER", b"none")
    payload = agent_payload.__wrapped__()
    monkeypatch.undo()
    assert payload != agent_payload()
    for sent in (payload, agent_payload()):
        argv = [sys.executable, "-I", "-S", "-u", "-c", BOOTSTRAP]
        done = subprocess.run(argv, input=sent + hello, capture_output=True, timeout=30, check=True)
        assert b'"protocol"' in done.stdout, done.stderr


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
