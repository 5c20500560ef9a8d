from __future__ import annotations

import pytest

from tests.driver.in_memory import MemorySite, Row


@pytest.fixture
def site() -> MemorySite:
    return MemorySite()


@pytest.fixture
def server(site: MemorySite) -> Row:
    return site.server()
