"""The clouds that keep the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from atoll.cloud.base import Cloud
from atoll.cloud.memory import MemoryCloud

from .site import Site, running_site

if TYPE_CHECKING:
    from atoll.cloud.openstack import OpenStackCloud


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """How an instance of this machine boots again by itself is tested in tests/guest, too."""
    for item in items:
        if item.name == "test_a_rebooted_instance_serves_again_by_itself[local]":
            item.add_marker(pytest.mark.long)


@pytest.fixture(
    scope="module",
    params=[
        "memory",
        pytest.param("local", marks=[pytest.mark.vm, pytest.mark.timeout(600)]),
        pytest.param("openstack", marks=[pytest.mark.openstack, pytest.mark.timeout(900)]),
    ],
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def place(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if kind != "local":
        yield tmp_path_factory.mktemp("cloud")
        return
    from .local_place import local_place

    with local_place() as directory:
        yield directory


def make(kind: str, place: Path, deployment: str) -> Cloud:
    if kind == "memory":
        return MemoryCloud(deployment, path=place / "world.sqlite")
    # Here, because their libraries aren't on every machine.
    if kind == "openstack":
        from .openstack_place import make_openstack

        return make_openstack(place, deployment)
    from .local_place import make_local

    return make_local(place, deployment)


@pytest.fixture(scope="module")
def cloud(kind: str, place: Path) -> Iterator[Cloud]:
    """A cloud that is empty at first and must be empty in the end."""
    made = make(kind, place, "contract")
    yield made
    left = [
        *made.compute.list_instances(),
        *made.volumes.list_volumes(),
        *made.volumes.list_snapshots(),
        *made.networks.list_ports(),
    ]
    made.purge()
    made.close()
    assert left == []


@pytest.fixture(scope="module")
def other(kind: str, place: Path) -> Iterator[Cloud]:
    """Another deployment on the same cloud."""
    made = make(kind, place, "other")
    yield made
    made.purge()
    made.close()


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Iterator[Site]:
    with running_site(cloud) as running:
        yield running


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStackCloud]:
    """An OpenStack, for what the contract doesn't know."""
    from .openstack_place import make_openstack

    made = make_openstack(tmp_path_factory.mktemp("state"), "networks")
    yield made
    made.purge()
    left = made.networks.leftovers()
    made.close()
    assert left == []


@pytest.fixture
def memory() -> Iterator[MemoryCloud]:
    """A simulated cloud in memory."""
    made = MemoryCloud("test", silence=0.001)
    yield made
    made.close()
