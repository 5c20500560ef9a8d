from __future__ import annotations

import pytest

from tests.driver.site import Row, Site


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def server(site: Site) -> Row:
    return site.server()
