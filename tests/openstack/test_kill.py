"""The worker is killed at a moment when a service has done what was asked, and nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .scene import Scene, nothing_leaked, wait

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]


@pytest.fixture(scope="module")
def network(scene: Scene) -> Iterator[str]:
    """A user's share network, with a share server."""
    with scene.network("10.74.0.0/24") as (share_network, _):
        first = scene.settled(scene.share(share_network, "first"))
        yield share_network
        scene.remove(first)


def of(scene: Scene, owner: str) -> list[str]:
    """Kinds of things that were made for somebody."""
    suffix = f" of {owner}"
    return sorted(line.split()[0] for line in scene.things() if line.endswith(suffix))


def is_well(scene: Scene, share: Any, size: int = 1) -> None:
    """It is available, with one volume that its instance has, and nobody was told otherwise."""
    assert scene.settled(share).size == size
    volume = scene.volume_of(share)
    assert (volume.status, volume.size) == ("in-use", size)
    holders = [each["server_id"] for each in volume.attachments]
    assert holders == [scene.server_of(share)["instance_id"]]
    assert scene.messages(share) == []
    path = scene.export(share).partition(":")[2]
    assert float(scene.inside(share, f"stat -f -c '%S %b' {path}").split()[0]) > 0


def test_in_set_up(scene: Scene, network: str) -> None:
    with nothing_leaked(scene), scene.network("10.75.0.0/24") as (elsewhere, _):
        with scene.killed("compute", "POST", "/servers$"):
            share = scene.share(elsewhere, "new")
        is_well(scene, share)
        [server] = scene.servers(elsewhere)
        assert of(scene, f"share_server/{server['id']}") == ["port", "port", "server"]
        scene.remove(share)


def test_in_attach(scene: Scene, network: str) -> None:
    with nothing_leaked(scene):
        with scene.killed("compute", "POST", "/os-volume_attachments$"):
            share = scene.share(network, "new")
        is_well(scene, share)
        scene.remove(share)


def test_in_extend(scene: Scene, network: str) -> None:
    with nothing_leaked(scene):
        share = scene.settled(scene.share(network, "new"))
        with scene.killed("block-storage", "POST", "/volumes/[^/]+/action$"):
            scene.shares.resize_share(share.id, 2)
        is_well(scene, share, size=2)
        scene.remove(share)


def test_in_a_snapshot(scene: Scene, network: str) -> None:
    with nothing_leaked(scene):
        share = scene.settled(scene.share(network, "new"))
        with scene.killed("block-storage", "POST", "/snapshots$"):
            snapshot = scene.shares.create_share_snapshot(share_id=share.id, name="moment")
        wait(
            "the snapshot",
            lambda: scene.shares.get_share_snapshot(snapshot.id).status == "available",
        )
        assert of(scene, f"snapshot/{snapshot.id}") == ["snapshot"]
        is_well(scene, share)
        path = scene.export(share).partition(":")[2]
        scene.inside(share, f"timeout 20 sh -c 'echo thawed > {path}/file; sync'")
        scene.shares.delete_share_snapshot(snapshot.id)
        wait("the snapshot to go", lambda: not list(scene.shares.share_snapshots()))
        scene.remove(share)


@pytest.mark.parametrize(
    ("service", "path"),
    [("compute", "/os-volume_attachments/"), ("block-storage", "/volumes/[^/]+$")],
    ids=["unplugged", "destroyed"],
)
def test_in_delete(scene: Scene, network: str, service: str, path: str) -> None:
    with nothing_leaked(scene):
        share = scene.settled(scene.share(network, "new"))
        with scene.killed(service, "DELETE", path):
            scene.shares.delete_share(share.id)
        wait("the share to go", lambda: share.id not in [s.id for s in scene.shares.shares()])
        assert of(scene, f"share/{share.id}") == []
