"""Volumes that somebody was in the middle of changing: a killed worker, Nova, a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.cloud.openstack import attachments
from atoll.cloud.openstack.compute import NovaCompute
from atoll.cloud.openstack.volumes import CinderVolumes
from atoll.errors import CloudUnavailable, VolumeInUse

from .cinder_double import SERVER, SNAPSHOT, VOLUME, Double, cinder_double

ATTACH = f"POST /servers/{SERVER}/os-volume_attachments volumeAttachment"
DETACH = f"DELETE /servers/{SERVER}/os-volume_attachments/{VOLUME}"

Scene = tuple[Double, CinderVolumes, NovaCompute]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with cinder_double(tmp_path) as made:
        yield made


def test_growing_that_was_begun_is_not_begun_again(scene: Scene) -> None:
    double, volumes, _ = scene
    double.status = "extending"
    double.later(0.5, status="in-use", size=2)
    volumes.extend_volume(VOLUME, 2)
    assert double.changes == []


def test_a_volume_that_is_being_made_is_deleted_when_it_is_made(scene: Scene) -> None:
    double, volumes, _ = scene
    double.status = "creating"
    double.later(0.5, status="available")
    volumes.delete_volume(VOLUME)
    assert double.changes == [f"DELETE /volumes/{VOLUME}"]


def test_a_snapshot_that_is_being_made_is_deleted_when_it_is_made(scene: Scene) -> None:
    double, volumes, _ = scene
    double.snapshot = "creating"
    double.later(0.5, snapshot="available")
    volumes.delete_snapshot(SNAPSHOT)
    assert double.changes == [f"DELETE /snapshots/{SNAPSHOT}"]


def test_attaching_that_was_begun_is_not_begun_again(scene: Scene) -> None:
    double, _, compute = scene
    double.status = "reserved"
    double.attach(SERVER, "reserved")
    double.later(0.5, status="attaching")
    done = {"id": "1", "instance": SERVER, "status": "attached", "volume_id": VOLUME}
    double.later(0.8, status="in-use", attachments=[done])
    compute.attach_volume(SERVER, VOLUME)
    assert double.changes == []


def test_attaching_that_fell_through_is_begun_again(scene: Scene) -> None:
    double, _, compute = scene
    double.status = "reserved"
    double.attach(SERVER, "reserved")
    double.later(0.5, status="available", attachments=[])
    compute.attach_volume(SERVER, VOLUME)
    assert double.changes == [ATTACH]


@pytest.mark.parametrize("held", [False, True])
def test_a_volume_that_nobody_attaches_is_put_right(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    monkeypatch.setattr(attachments, "SURE_SECONDS", 0.3)
    double, _, compute = scene
    double.status = "attaching"  # set by hand: no attachment says so
    if held:
        double.attach(SERVER)
    compute.attach_volume(SERVER, VOLUME)
    assert double.changes == [
        f"POST /volumes/{VOLUME}/action os-unreserve",
        *([] if held else [ATTACH]),
    ]


def test_a_volume_that_gets_stuck_just_before_it_is_attached_is_put_right(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "SURE_SECONDS", 0.3)
    double, _, compute = scene
    double.overtaken_by = "attaching"
    compute.attach_volume(SERVER, VOLUME)
    assert double.changes == [ATTACH, f"POST /volumes/{VOLUME}/action os-unreserve", ATTACH]


def test_a_volume_that_stays_stuck_says_so(scene: Scene) -> None:
    double, _, compute = scene
    double.status = "attaching"
    double.attach(SERVER, "attaching")
    double.known_to_nova = {SERVER}
    with pytest.raises(CloudUnavailable, match=r"'attaching' for 1\.5 seconds"):
        compute.attach_volume(SERVER, VOLUME)
    assert double.changes == []


def test_a_stuck_volume_that_nova_does_not_know_of_is_free_at_the_next_try(scene: Scene) -> None:
    double, _, compute = scene
    double.status = "reserved"
    double.attach(SERVER, "reserved")
    with pytest.raises(CloudUnavailable, match=r"'reserved' for 1\.5 seconds"):
        compute.attach_volume(SERVER, VOLUME)
    compute.attach_volume(SERVER, VOLUME)
    assert double.changes == [f"DELETE /attachments/attachment-{SERVER}", ATTACH]


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_server_that_could_be_restored_is_deleted_for_good(scene: Scene, by_hand: bool) -> None:
    double, _, compute = scene
    double.reclaims_later = True
    if by_hand:
        double.kept.add(SERVER)
    assert (compute.get_instance(SERVER) is None) == by_hand
    compute.delete_instance(SERVER)
    assert double.servers == set()
    asked = [f"DELETE /servers/{SERVER}", f"POST /servers/{SERVER}/action forceDelete"]
    assert double.changes == asked[by_hand:]


def test_a_server_that_goes_at_once_is_deleted_once(scene: Scene) -> None:
    double, _, compute = scene
    compute.delete_instance(SERVER)
    compute.delete_instance(SERVER)
    assert double.servers == set()
    assert double.changes == [f"DELETE /servers/{SERVER}"] * 2


def test_what_a_dead_server_has_left_attached_is_free(scene: Scene) -> None:
    double, _, compute = scene
    double.status = "in-use"
    double.attach("dead")
    compute.attach_volume(SERVER, VOLUME)
    assert double.changes == ["DELETE /attachments/attachment-dead", ATTACH]


def test_what_a_living_server_has_stays_its_own(scene: Scene) -> None:
    double, _, compute = scene
    double.servers.add("other")
    double.known_to_nova = {"other"}
    double.status = "in-use"
    double.attach("other")
    with pytest.raises(VolumeInUse, match="other"):
        compute.attach_volume(SERVER, VOLUME)
    assert double.changes == []


def test_detaching_that_was_begun_is_not_begun_again(scene: Scene) -> None:
    double, _, compute = scene
    double.status = "detaching"
    double.attach(SERVER)
    double.later(0.5, status="available", attachments=[])
    compute.detach_volume(SERVER, VOLUME)
    assert double.changes == []


def test_detaching_that_got_stuck_is_begun_again_at_the_next_try(scene: Scene) -> None:
    double, _, compute = scene
    double.status = "detaching"
    double.known_to_nova = {SERVER}
    double.attach(SERVER)
    with pytest.raises(CloudUnavailable, match=r"'detaching' for 1\.5 seconds"):
        compute.detach_volume(SERVER, VOLUME)
    compute.detach_volume(SERVER, VOLUME)
    assert double.changes == [f"POST /volumes/{VOLUME}/action os-roll_detaching", DETACH]
