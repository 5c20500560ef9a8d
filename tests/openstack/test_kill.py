"""The worker is killed at a moment when a service has done what was asked, and nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.wait import wait

from .deployment import OpenStackDeployment, nothing_leaked

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]


@pytest.fixture(scope="module")
def network(deployment: OpenStackDeployment) -> Iterator[str]:
    """A user's share network, with a share server."""
    with deployment.network("10.74.0.0/24") as (share_network, _):
        first = deployment.settled(deployment.share(share_network, "first"))
        yield share_network
        deployment.remove(first)


def of(deployment: OpenStackDeployment, owner: str) -> list[str]:
    """Kinds of things that were made for somebody."""
    suffix = f" of {owner}"
    return sorted(line.split()[0] for line in deployment.things() if line.endswith(suffix))


def is_well(deployment: OpenStackDeployment, share: Any, size: int = 1) -> None:
    """It is available, with one volume that its instance has, and nobody was told otherwise."""
    assert deployment.settled(share).size == size
    volume = deployment.volume_of(share)
    assert (volume.status, volume.size) == ("in-use", size)
    holders = [each["server_id"] for each in volume.attachments]
    assert holders == [deployment.server_of(share)["instance_id"]]
    assert deployment.messages(share) == []
    path = deployment.export(share).partition(":")[2]
    assert float(deployment.inside(share, f"stat -f -c '%S %b' {path}").split()[0]) > 0


def test_in_set_up(deployment: OpenStackDeployment, network: str) -> None:
    with nothing_leaked(deployment), deployment.network("10.75.0.0/24") as (elsewhere, _):
        with deployment.killed("compute", "POST", "/servers$"):
            share = deployment.share(elsewhere, "new")
        is_well(deployment, share)
        [server] = deployment.servers(elsewhere)
        assert of(deployment, f"share_server/{server['id']}") == ["port", "port", "server"]
        deployment.remove(share)


def test_in_attach(deployment: OpenStackDeployment, network: str) -> None:
    with nothing_leaked(deployment):
        with deployment.killed("compute", "POST", "/os-volume_attachments$"):
            share = deployment.share(network, "new")
        is_well(deployment, share)
        deployment.remove(share)


def test_in_extend(deployment: OpenStackDeployment, network: str) -> None:
    with nothing_leaked(deployment):
        share = deployment.settled(deployment.share(network, "new"))
        with deployment.killed("block-storage", "POST", "/volumes/[^/]+/action$"):
            deployment.shares.resize_share(share.id, 2)
        is_well(deployment, share, size=2)
        deployment.remove(share)


def test_in_a_snapshot(deployment: OpenStackDeployment, network: str) -> None:
    with nothing_leaked(deployment):
        share = deployment.settled(deployment.share(network, "new"))
        with deployment.killed("block-storage", "POST", "/snapshots$"):
            snapshot = deployment.shares.create_share_snapshot(share_id=share.id, name="moment")
        wait(
            "the snapshot",
            lambda: deployment.shares.get_share_snapshot(snapshot.id).status == "available",
        )
        assert of(deployment, f"snapshot/{snapshot.id}") == ["snapshot"]
        is_well(deployment, share)
        path = deployment.export(share).partition(":")[2]
        deployment.inside(share, f"timeout 20 sh -c 'echo thawed > {path}/file; sync'")
        deployment.shares.delete_share_snapshot(snapshot.id)
        wait("the snapshot to go", lambda: not list(deployment.shares.share_snapshots()))
        deployment.remove(share)


@pytest.mark.parametrize(
    ("service", "path"),
    [("compute", "/os-volume_attachments/"), ("block-storage", "/volumes/[^/]+$")],
    ids=["unplugged", "destroyed"],
)
def test_in_delete(deployment: OpenStackDeployment, network: str, service: str, path: str) -> None:
    with nothing_leaked(deployment):
        share = deployment.settled(deployment.share(network, "new"))
        with deployment.killed(service, "DELETE", path):
            deployment.shares.delete_share(share.id)
        wait("the share to go", lambda: share.id not in [s.id for s in deployment.shares.shares()])
        assert of(deployment, f"share/{share.id}") == []
