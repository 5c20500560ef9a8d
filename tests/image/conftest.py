"""Fixtures of the image tests: the init script as a module, and a booted service instance."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from atoll.image import build_image
from atoll.image.recipe import FILES
from tests.image.vm import Instance

# Where 'atoll image build' keeps its images: one build serves the demo and all tests.
CACHE = Path("/var/cache/atoll/images")


@pytest.fixture(scope="session")
def atoll_init() -> ModuleType:
    """The script that runs in the instance, loaded here to test its pure functions."""
    path = FILES / "rootfs/usr/lib/atoll/atoll-init"
    loader = importlib.machinery.SourceFileLoader("atoll_init", str(path))
    spec = importlib.util.spec_from_loader("atoll_init", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def service_image() -> Path:
    """The service image, built if this machine has none yet."""
    return build_image(CACHE).path


@pytest.fixture(scope="module")
def instance(service_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A service instance that has been waited for until SSH answers."""
    folder = tmp_path_factory.mktemp("vm")
    with Instance(service_image, folder) as booted:
        booted.wait_for_ssh()
        yield booted
