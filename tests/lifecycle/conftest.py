"""Deployments on the simulated cloud, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.memory_deployment import MemoryDeployment


@pytest.fixture
def new_deployment(
    new_database_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., MemoryDeployment]]:
    """Make a deployment of its own, without a worker; as often as one likes."""
    deployments: list[MemoryDeployment] = []

    def make(**driver: Any) -> MemoryDeployment:
        directory: Path = tmp_path_factory.mktemp("house")
        deployments.append(MemoryDeployment(directory, new_database_url(), **driver))
        return deployments[-1]

    yield make
    for deployment in deployments:
        deployment.close()


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """A deployment with one worker."""
    made = new_deployment()
    made.start_worker()
    return made


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A worker that is killed leaves the same behind on both databases, and each takes minutes.

    Killed before a call, it leaves what a call that fails leaves (driver/test_interruptions).
    """
    for item in items:
        is_alike = "[postgres" in item.name or item.name.endswith("-before]")
        if item.path.name == "test_kill.py" and is_alike:
            item.add_marker(pytest.mark.long)
