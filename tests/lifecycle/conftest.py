"""Deployments on the simulated cloud, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.house import House


@pytest.fixture
def new_house(
    new_database_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., House]]:
    """Make a deployment of its own, without a worker; as often as one likes."""
    houses: list[House] = []

    def make(**driver: Any) -> House:
        directory: Path = tmp_path_factory.mktemp("house")
        houses.append(House(directory, new_database_url(), **driver))
        return houses[-1]

    yield make
    for house in houses:
        house.close()


@pytest.fixture
def house(new_house: Callable[..., House]) -> House:
    """A deployment with one worker."""
    made = new_house()
    made.start_worker()
    return made
