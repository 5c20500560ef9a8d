"""One deployment and one client, which each module leaves as it found them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .site import Site

collect_ignore_glob = [] if importlib.util.find_spec("manilaclient") else ["test_*.py"]


@pytest.fixture(scope="session")
def deployment() -> Iterator[Site]:
    """Booting its instance and its client takes a minute where they are emulated."""
    from .site import Site  # here: its libraries aren't on every machine

    made = Site()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def site(deployment: Site) -> Iterator[Site]:
    yield deployment
    deployment.tidy()
