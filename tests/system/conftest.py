"""One deployment and one client, which each module leaves as it found them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.client_vm import ClientVm

    from .deployment import LibvirtDeployment

collect_ignore_glob = [] if importlib.util.find_spec("manilaclient") else ["test_*.py"]


@pytest.fixture(scope="session")
def libvirt_deployment() -> Iterator[LibvirtDeployment]:
    """Booting its instance and its client takes a minute where they are emulated."""
    from .deployment import LibvirtDeployment  # here: its libraries aren't on every machine

    made = LibvirtDeployment()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def deployment(libvirt_deployment: LibvirtDeployment) -> Iterator[LibvirtDeployment]:
    yield libvirt_deployment
    libvirt_deployment.tidy()


@pytest.fixture(scope="module")
def client(deployment: LibvirtDeployment) -> ClientVm:
    """The client, with the service instance booting meanwhile."""
    deployment.network()
    deployment.boot_client()
    deployment.remove(deployment.available(deployment.share("first")))
    return deployment.client
