"""What the pages that are written from the code take from its source text."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from typing import Any

NOTICE = "<!-- Written by docs/generate.py from the code: change that, then run it again. -->\n"


def markdown(docstring: str | None) -> str:
    """A docstring as Markdown."""
    return (docstring or "").replace("``", "`")


def docstrings(table: type[Any]) -> dict[str, str]:
    """Attribute docstrings of a class: the string that follows a name's value."""
    (declared,) = ast.parse(inspect.getsource(table)).body
    assert isinstance(declared, ast.ClassDef)
    return following_strings(declared.body)


def following_strings(statements: list[ast.stmt]) -> dict[str, str]:
    """The string that follows each assignment, by the name that is assigned."""
    found = {}
    for one, following in pairwise(statements):
        if (
            isinstance(one, ast.AnnAssign | ast.Assign)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            target = one.target if isinstance(one, ast.AnnAssign) else one.targets[0]
            found[ast.unparse(target)] = " ".join(str(following.value.value).split())
    return found
