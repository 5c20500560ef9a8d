"""One deployment for each module: its first share takes a boot."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .deployment import OpenStackDeployment

collect_ignore_glob = [] if importlib.util.find_spec("manilaclient") else ["test_*.py"]


@pytest.fixture(scope="module")
def deployment() -> Iterator[OpenStackDeployment]:
    from .deployment import OpenStackDeployment  # here: its libraries aren't on every machine

    made = OpenStackDeployment()
    try:
        yield made
    finally:
        made.close()
