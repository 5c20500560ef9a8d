"""mypy finds a misspelt key and a state that does not exist, wherever they are written.

In a copy of the source, every key of a record and every state that handlers, driver and API name
is misspelt. mypy must complain about each line. Keys that lead from one record to another have a
round of their own, because mypy knows nothing of what is behind a key that does not exist.
"""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Set
from enum import StrEnum
from pathlib import Path
from typing import is_typeddict

import pytest

from atoll.model import records, states

ROOT = Path(__file__).parent.parent
PACKAGES = ("lifecycle", "driver", "api")
LEADING = {"access_rules", "share", "share_server", "subnets"}
"""Keys whose values are records themselves."""
NOT_RECORDS = {
    "api/auth/keystone.py": "the token, as Keystone describes it",
    "api/frame/metadata.py": "whatever has metadata",
    "api/frame/openapi.py": "parts of the document",
    "api/frame/paging.py": "whatever has an id",
    "api/frame/policy.py": "whatever has an owner",
    "api/frame/resource.py": "whatever has an id and a status",
    "api/site/pools.py": "pools, as the driver reports them",
    "lifecycle/scheduler.py": "pools, as the driver reports them",
}
"""Files in which mypy may miss a key, and what the key is of."""
KEYS = {
    key for _, record in inspect.getmembers(records, is_typeddict) for key in record.__annotations__
}
STATES = {
    name for name, kind in inspect.getmembers(states, inspect.isclass) if issubclass(kind, StrEnum)
}


def planted(text: str, keys: Set[str]) -> tuple[str, dict[int, str]]:
    """The source with these keys and all states misspelt, and what stands on which line."""
    lines = text.split("\n")
    found = sorted(places(ast.parse(text), keys), reverse=True)
    for line, column, _ in found:
        lines[line - 1] = f"{lines[line - 1][:column]}x{lines[line - 1][column:]}"
    return "\n".join(lines), {line: what for line, _, what in found}


def places(tree: ast.AST, keys: Set[str]) -> Iterator[tuple[int, int, str]]:
    """Line and column behind each key and state."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(slice=ast.Constant(value=str(key)) as literal) if key in keys:
                yield literal.lineno, literal.col_offset + len(key) + 1, key
            case ast.Attribute(value=ast.Name(id=kind), attr=name) if (
                kind in STATES and name.isupper()
            ):
                yield node.end_lineno or 0, node.end_col_offset or 0, name


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("keys", [KEYS - LEADING, LEADING], ids=["values", "records"])
def test_every_misspelt_key_and_state_is_found(tmp_path: Path, keys: Set[str]) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if (ROOT / ".mypy_cache").is_dir():  # of what was not changed, such as the libraries
        shutil.copytree(ROOT / ".mypy_cache", tmp_path / ".mypy_cache")
    mistakes: dict[str, str] = {}
    for package in PACKAGES:
        for file in sorted((tmp_path / "src/atoll" / package).rglob("*.py")):
            name = str(file.relative_to(tmp_path / "src/atoll"))
            if name in NOT_RECORDS:
                continue
            text, lines = planted(file.read_text(), keys)
            file.write_text(text)
            mistakes |= {f"{name}:{line}": what for line, what in lines.items()}
    assert len(mistakes) > (20 if keys == LEADING else 200)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "src"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = set(re.findall(r"^src/atoll/(\S+?:\d+): error", checked.stdout, re.M))
    missed = {place: what for place, what in mistakes.items() if place not in complaints}
    assert not missed, "\n".join(f"{place} {what}" for place, what in missed.items())
