from __future__ import annotations

import pytest

from tests.driver.in_memory import DriverOnMemory, Row


@pytest.fixture
def site() -> DriverOnMemory:
    return DriverOnMemory()


@pytest.fixture
def server(site: DriverOnMemory) -> Row:
    return site.server()
