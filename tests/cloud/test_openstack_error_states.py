"""Volumes and snapshots that Cinder shows in error: nothing but a deletion deletes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from atoll.cloud.openstack.cinder import DEPLOYMENT, MAKING, OWNER
from atoll.cloud.openstack.compute import NovaCompute
from atoll.cloud.openstack.volumes import CinderVolumes
from atoll.errors import CloudError, OutOfCapacity

from .cinder_double import SERVER, SNAPSHOT, VOLUME, Double, cinder_double

OURS = {DEPLOYMENT: "test", OWNER: "share/1"}
Scene = tuple[Double, CinderVolumes, NovaCompute]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with cinder_double(tmp_path) as made:
        made[0].metadata = dict(OURS)
        yield made


VERBS: dict[str, Callable[[CinderVolumes, NovaCompute], object]] = {
    "grow": lambda volumes, _: volumes.extend_volume(VOLUME, 2),
    "grow, again": lambda volumes, _: volumes.extend_volume(VOLUME, 1),
    "provide": lambda volumes, _: volumes.create_volume("share/1", 1),
    "look": lambda volumes, _: volumes.get_volume(VOLUME),
    "find": lambda volumes, _: volumes.find_volume("share/1"),
    "list": lambda volumes, _: volumes.list_volumes(),
    "attach": lambda _, compute: compute.attach_volume(SERVER, VOLUME),
    "detach": lambda _, compute: compute.detach_volume(SERVER, VOLUME),
    "snapshot": lambda volumes, _: volumes.create_snapshot("snapshot/1", VOLUME),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "status", ["error", "error_extending", "error_deleting", "error_restoring", "error_attaching"]
)
def test_a_volume_in_error_survives_all_verbs_but_delete(
    scene: Scene, verb: str, status: str
) -> None:
    double, volumes, compute = scene
    double.status = status
    double.snapshot = ""
    with suppress(CloudError):
        VERBS[verb](volumes, compute)
    assert f"DELETE /volumes/{VOLUME}" not in double.changes
    assert double.status


def test_a_volume_in_error_says_so_when_it_is_to_grow(scene: Scene) -> None:
    double, volumes, _ = scene
    double.status = "error"
    with pytest.raises(CloudError, match="'error'") as caught:
        volumes.extend_volume(VOLUME, 1)
    assert not isinstance(caught.value, OutOfCapacity)


def test_a_volume_in_error_goes_when_it_is_to_be_deleted(scene: Scene) -> None:
    double, volumes, _ = scene
    double.status = "error"
    volumes.delete_volume(VOLUME)
    assert double.status == ""


def test_a_volume_whose_making_failed_is_made_anew(scene: Scene) -> None:
    double, volumes, _ = scene
    double.status, double.created_as = "", "error"
    with pytest.raises(OutOfCapacity):
        volumes.create_volume("share/1", 1)
    double.created_as = "available"
    assert volumes.create_volume("share/1", 1).id == VOLUME
    assert double.metadata == OURS, "it may hold data from now on"


def test_a_failed_volume_of_a_worker_that_died_is_made_anew(scene: Scene) -> None:
    double, volumes, _ = scene
    double.status, double.metadata = "error", {**OURS, MAKING: "yes"}
    with pytest.raises(OutOfCapacity):
        volumes.create_volume("share/1", 1)
    double.created_as = "available"
    assert volumes.create_volume("share/1", 1).id == VOLUME


def test_a_volume_of_a_worker_that_died_before_it_was_told_of_is_kept(scene: Scene) -> None:
    double, volumes, _ = scene
    double.status, double.metadata = "available", {**OURS, MAKING: "yes"}
    assert volumes.create_volume("share/1", 1).id == VOLUME
    double.status = "error"
    with pytest.raises(CloudError, match="'error'"):
        volumes.create_volume("share/1", 1)
    assert double.changes == [f"DELETE /volumes/{VOLUME}/metadata/{MAKING}"]


@pytest.mark.parametrize("status", ["error", "error_deleting"])
def test_a_snapshot_in_error_is_deleted_only_while_it_is_made(scene: Scene, status: str) -> None:
    double, volumes, _ = scene
    double.created_as = "error"
    with pytest.raises(CloudError, match="could not make"):
        volumes.create_snapshot("snapshot/1", VOLUME)
    assert double.snapshot == ""
    double.created_as = "available"
    assert volumes.create_snapshot("snapshot/1", VOLUME).id == SNAPSHOT
    double.snapshot = status
    with pytest.raises(CloudError, match=f"'{status}'"):
        volumes.create_snapshot("snapshot/1", VOLUME)
    assert double.snapshot == status
