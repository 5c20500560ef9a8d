"""A server of Nova's counts as ended only with proof, whatever else Nova says about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.cloud.openstack import fencing
from atoll.cloud.openstack.compute import NovaCompute
from atoll.cloud.openstack.volumes import CinderVolumes
from atoll.errors import InstanceMayStillRun, VolumeInUse

from .cinder_double import SERVER, VOLUME, Double, cinder_double

Scene = tuple[Double, CinderVolumes, NovaCompute]
DELETED = [f"DELETE /servers/{SERVER}"]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(fencing, "PROOF_SECONDS", 0.3)
    monkeypatch.setattr(fencing, "PAUSE", 0.05)
    with cinder_double(tmp_path) as made:
        yield made


def test_a_host_that_answers_ends_its_server(scene: Scene) -> None:
    double, _, compute = scene
    assert compute.fencing(SERVER).state == "possible"
    compute.fence_instance(SERVER)
    assert compute.fencing(SERVER).state == "proved"
    compute.fence_instance(SERVER)  # a worker was killed before it could record that
    assert double.servers == set()


def test_what_the_host_records_a_moment_later_is_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fencing, "PROOF_SECONDS", 5.0)
    double, _, compute = scene
    double.hosts.result = None
    event = double.hosts.events[SERVER]
    done = {"event": "compute_terminate_instance", "result": "Success"}
    double.later(0.5, hosts=double.hosts.__class__(events={SERVER: {**event, "delete": [done]}}))
    compute.fence_instance(SERVER)


def test_nothing_is_deleted_while_the_host_is_down(scene: Scene) -> None:
    double, _, compute = scene
    double.hosts.state = "down"
    assert compute.fencing(SERVER).state == "doubtful"
    with pytest.raises(InstanceMayStillRun, match="host-1") as caught:
        compute.fence_instance(SERVER)
    assert double.changes == []
    assert not caught.value.retryable
    assert caught.value.instance_id == SERVER
    assert "atoll server fence" in caught.value.hint
    double.hosts.state = "up"
    compute.fence_instance(SERVER)
    assert double.changes == DELETED


def test_who_forces_a_host_down_vouches_for_its_servers(scene: Scene) -> None:
    double, _, compute = scene
    double.hosts.state, double.hosts.forced_down = "down", True
    assert compute.fencing(SERVER).state == "proved"
    compute.fence_instance(SERVER)
    assert double.changes == DELETED
    compute.fence_instance(SERVER)  # a worker was killed before it could record that
    double.hosts.forced_down = False
    with pytest.raises(InstanceMayStillRun):
        compute.fence_instance(SERVER)


def test_a_server_that_somebody_deleted_without_its_host_may_run(scene: Scene) -> None:
    double, _, compute = scene
    double.hosts.state = "down"
    compute.delete_instance(SERVER)
    assert compute.get_instance(SERVER) is None
    double.hosts.state = "up"
    assert compute.fencing(SERVER).state == "doubtful"
    with pytest.raises(InstanceMayStillRun, match="no host has recorded"):
        compute.fence_instance(SERVER)


def test_a_host_that_goes_down_in_this_moment_proves_nothing(scene: Scene) -> None:
    """Nova deletes the record without the host, although the host was up a moment ago."""
    double, _, compute = scene
    double.hosts.result = None  # the host has begun, and dies
    with pytest.raises(InstanceMayStillRun):
        compute.fence_instance(SERVER)


def test_a_host_that_fails_to_end_its_server_proves_nothing(scene: Scene) -> None:
    double, _, compute = scene
    double.hosts.result = "Error"
    with pytest.raises(InstanceMayStillRun):
        compute.fence_instance(SERVER)


@pytest.mark.parametrize("archived", [False, True])
def test_a_server_that_never_had_a_host_never_ran(scene: Scene, archived: bool) -> None:
    double, _, compute = scene
    double.hosts.placed[SERVER] = None
    double.hosts.events[SERVER] = {"create": [{"event": "conductor_schedule", "result": "Error"}]}
    double.hosts.state, double.hosts.archived = "down", archived
    compute.fence_instance(SERVER)
    assert compute.fencing(SERVER).state == ("doubtful" if archived else "proved")


def test_without_an_administrators_rights_the_record_is_the_proof(scene: Scene) -> None:
    double, _, compute = scene
    double.hosts.shown = False
    assert compute.fencing(SERVER).state == "possible"
    compute.fence_instance(SERVER)
    assert "hidden" in compute.fences.hosts()


def test_without_them_a_dead_host_is_noticed_afterwards(scene: Scene) -> None:
    double, _, compute = scene
    double.hosts.shown, double.hosts.state = False, "down"
    with pytest.raises(InstanceMayStillRun):
        compute.fence_instance(SERVER)
    assert compute.fencing(SERVER).state == "doubtful"


def test_records_that_are_gone_prove_nothing(scene: Scene) -> None:
    double, _, compute = scene
    compute.delete_instance(SERVER)
    double.hosts.archived = True
    with pytest.raises(InstanceMayStillRun, match="does not show its end"):
        compute.fence_instance(SERVER)


@pytest.mark.parametrize("host_state", ["up", "down"])
def test_a_server_that_could_be_restored_is_deleted_for_good(scene: Scene, host_state: str) -> None:
    double, _, compute = scene
    double.reclaims_later, double.hosts.state = True, host_state
    double.kept.add(SERVER)
    if host_state == "down":
        with pytest.raises(InstanceMayStillRun):
            compute.fence_instance(SERVER)
        assert double.changes == []
        return
    compute.fence_instance(SERVER)
    assert double.servers == set()


def test_what_a_server_in_doubt_has_attached_is_not_given_to_another(scene: Scene) -> None:
    double, _, compute = scene
    double.status = "in-use"
    double.hosts.record("lost", "create", "compute__do_build_and_run_instance", "Success")
    double.attach("lost")
    with pytest.raises(VolumeInUse, match="may still run") as caught:
        compute.attach_volume(SERVER, VOLUME)
    assert caught.value.retryable
    assert double.changes == []
    double.hosts.record("lost", "delete", "compute_terminate_instance", "Success")
    compute.attach_volume(SERVER, VOLUME)


def test_compute_services_are_counted_for_the_doctor(scene: Scene) -> None:
    _, _, compute = scene
    assert compute.fences.hosts() == "1 of 1 compute services are up"
