"""The volume with the state of a share server's NFS server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atoll.cloud.base import Volume
from atoll.model.keys import state_key
from harness.memory_deployment import CLIENT, MemoryDeployment


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    made = new_deployment(reconcile_interval=0.5, replace_dead_after=1)
    made.start_worker()
    made.served()
    return made


def share_of(deployment: MemoryDeployment) -> str:
    [share] = deployment.call("GET", "/shares")["shares"]
    return str(share["id"])


def state_volume(deployment: MemoryDeployment) -> Volume:
    server = deployment.share(share_of(deployment))["share_server_id"]
    found = deployment.cloud.volumes.find_volume(state_key(server))
    assert found is not None
    return found


def served(deployment: MemoryDeployment) -> bool:
    try:
        return bool(deployment.mount(share_of(deployment)).read("data") == b"precious")
    except (TimeoutError, FileNotFoundError):
        return False


@pytest.mark.parametrize("accident", ["delete_instance", "kill_instance", "hang_instance"])
def test_locks_survive_what_happens_to_an_instance(
    deployment: MemoryDeployment, accident: str
) -> None:
    share, other = share_of(deployment), "10.0.0.77"
    deployment.allow(share, other)
    deployment.settled(share)
    deployment.mount(share).lock("file")
    [instance] = deployment.cloud.compute.list_instances()
    getattr(deployment.cloud, accident)(instance.id)
    deployment.until(lambda: not served(deployment), "the failure", 5)
    deployment.until(lambda: served(deployment), "the share")
    with pytest.raises(BlockingIOError):
        deployment.mount(share, other).lock("file")
    deployment.mount(share, CLIENT).unlock("file")
    deployment.mount(share, other).lock("file")
    assert deployment.cloud.accidents() == []


def test_an_instance_that_boots_without_the_volume_gets_it_back(
    deployment: MemoryDeployment,
) -> None:
    volume = state_volume(deployment)
    assert volume.instance_id is not None
    deployment.cloud.lose_volume_attachment(volume.id)
    deployment.cloud.kill_instance(volume.instance_id)
    deployment.until(lambda: served(deployment), "the share")
    assert state_volume(deployment).instance_id == volume.instance_id


def test_a_state_that_is_lost_keeps_nobody_from_the_data(deployment: MemoryDeployment) -> None:
    volume = state_volume(deployment)
    assert volume.instance_id is not None
    deployment.cloud.delete_volume(volume.id)
    deployment.cloud.delete_instance(volume.instance_id)
    deployment.until(lambda: served(deployment), "the share")
    assert state_volume(deployment).id != volume.id


def test_the_volume_goes_with_its_server(deployment: MemoryDeployment) -> None:
    assert state_volume(deployment).size_gib == 1
    network = deployment.network()
    deployment.call("DELETE", f"/shares/{share_of(deployment)}")
    deployment.gone("shares")
    deployment.call("DELETE", f"/share-networks/{network}")
    deployment.until(lambda: not deployment.cloud.volumes.list_volumes(), "the volume to go")
    deployment.empty()
