"""One deployment for each module: its first share takes a boot."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .scene import Scene

collect_ignore_glob = [] if importlib.util.find_spec("manilaclient") else ["test_*.py"]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    from .scene import Scene  # here: its libraries aren't on every machine

    made = Scene()
    try:
        yield made
    finally:
        made.close()
