"""A warm instance takes the place of a lost one, so that clients do not wait for a boot."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from atoll.cloud.memory.journal import Call
from atoll.db import share_servers
from atoll.engine.queue import enqueue
from atoll.lifecycle import server_choice
from atoll.model.keys import server_key
from atoll.model.records import ShareServer
from atoll.model.states import ServerStatus
from harness.memory_deployment import CLIENT, MemoryDeployment
from tests.lifecycle.test_restore import passes

OTHER = "10.0.0.77"


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """A served share, and a warm server."""
    made = new_deployment(reconcile_interval=0.5, replace_dead_after=1, warm_service_instances=1)
    made.start_worker()
    share = made.served()
    made.allow(share, OTHER)
    made.settled(share)
    made.until(lambda: warm(made), "a warm server")
    return made


def servers(deployment: MemoryDeployment) -> list[ShareServer]:
    with deployment.database.read() as connection:
        return share_servers.where(connection)


def warm(deployment: MemoryDeployment) -> str | None:
    """The instance of the warm server."""
    for server in servers(deployment):
        is_warm = server["share_network_subnet_id"] is None and not server["stands_in_for"]
        if is_warm and server["status"] == ServerStatus.ACTIVE:
            return server["identifier"]
    return None


def share_of(deployment: MemoryDeployment) -> str:
    [share] = deployment.call("GET", "/shares?share_proto=NFS")["shares"]
    return str(share["id"])


def server_of(deployment: MemoryDeployment) -> ShareServer:
    server_id = deployment.share(share_of(deployment))["share_server_id"]
    [found] = [each for each in servers(deployment) if each["id"] == server_id]
    return found


def served_by(deployment: MemoryDeployment, instance: str | None) -> bool:
    if server_of(deployment)["identifier"] != instance:
        return False
    try:
        return bool(deployment.mount(share_of(deployment)).read("data") == b"precious")
    except (TimeoutError, FileNotFoundError):
        return False


def fail(deployment: MemoryDeployment, accident: str) -> str | None:
    """Let something happen to the instance of the share. Returns the instance that was warm."""
    standby = warm(deployment)
    getattr(deployment.cloud, accident)(server_of(deployment)["identifier"])
    return standby


@pytest.mark.parametrize("accident", ["delete_instance", "kill_instance", "hang_instance"])
def test_a_warm_instance_serves_in_place_of_a_lost_one(
    deployment: MemoryDeployment, accident: str
) -> None:
    address = deployment.export(share_of(deployment))
    deployment.mount(share_of(deployment)).lock("file")
    mark, moment = deployment.cloud.journal.mark(), time.time()
    standby = fail(deployment, accident)
    deployment.until(lambda: served_by(deployment, standby), "the share on the warm instance")
    assert deployment.export(share_of(deployment)) == address
    assert deployment.cloud.journal.count("reboot_instance") == 0
    with pytest.raises(BlockingIOError):
        deployment.mount(share_of(deployment), OTHER).lock("file")
    deployment.mount(share_of(deployment), CLIENT).unlock("file")
    assert deployment.cloud.accidents() == []
    deployment.until(lambda: warm(deployment) not in (None, standby), "another warm server")
    [booted] = deployment.cloud.journal.calls("create_instance", since=mark)
    assert booted.time - moment > server_choice.PATIENCES  # clients that come back need the CPU
    volumes = [volume.owner for volume in deployment.cloud.volumes.list_volumes()]
    states = [owner for owner in volumes if owner.startswith("share_server_state/")]
    assert len(states) == 2  # of the share's server and of the warm one


def test_clients_of_nfs_do_not_wait_for_samba(deployment: MemoryDeployment) -> None:
    by_smb = deployment.create(share_proto="CIFS")
    deployment.settled(by_smb)
    mark = deployment.cloud.journal.mark()
    standby = fail(deployment, "kill_instance")
    deployment.until(lambda: served_by(deployment, standby), "the share on the warm instance")
    [started] = deployment.cloud.journal.calls("start_nfs", about=str(standby), since=mark)

    def served() -> list[Call]:
        return deployment.cloud.journal.calls("apply_share", about=by_smb, since=mark)

    first, *_ = deployment.until(served, "the share of SMB")
    assert started.number < first.number


def test_the_next_failure_is_survived_too(deployment: MemoryDeployment) -> None:
    for accident in ("kill_instance", "hang_instance", "delete_instance"):
        deployment.until(lambda: warm(deployment), "a warm server")
        standby = fail(deployment, accident)
        deployment.until(partial(served_by, deployment, standby), "the share")
    [lent] = [each for each in servers(deployment) if each["stands_in_for"]]
    assert lent["stands_in_for"] == server_of(deployment)["id"]
    deployment.until(
        lambda: len(deployment.cloud.compute.list_instances()) == 2, "the lost ones to go"
    )


def test_a_warm_instance_that_does_not_answer_is_given_up(deployment: MemoryDeployment) -> None:
    standby = warm(deployment)
    assert standby is not None
    for call in ("open_guest", "keep_state"):
        deployment.cloud.faults.fail(call, "GuestUnreachable", times=None, about=standby)
    fail(deployment, "delete_instance")
    deployment.until(
        lambda: served_by(deployment, server_of(deployment)["identifier"]), "the share"
    )
    assert server_of(deployment)["identifier"] != standby
    deployment.until(lambda: _is_gone(deployment, standby), "the warm instance to go")


def _is_gone(deployment: MemoryDeployment, instance: str) -> bool:
    return deployment.cloud.compute.get_instance(instance) is None


def test_a_server_is_renewed_by_a_warm_instance(deployment: MemoryDeployment) -> None:
    standby, server = warm(deployment), server_of(deployment)
    with deployment.database.begin() as connection:
        details = {**server["backend_details"], "image_id": "an older one"}
        share_servers.change(connection, server["id"], renewal_wanted=True, backend_details=details)
        enqueue(connection, server_key(server["id"]))
    deployment.until(lambda: served_by(deployment, standby), "the share on the warm instance")


def test_its_own_state_volume_may_stay_for_a_while(deployment: MemoryDeployment) -> None:
    deployment.cloud.faults.fail("delete_volume", "CloudError", times=None)
    standby = fail(deployment, "kill_instance")
    deployment.until(lambda: served_by(deployment, standby), "the share on the warm instance")
    deployment.cloud.faults.clear()


def test_a_lender_stays_untouched_whatever_its_status(deployment: MemoryDeployment) -> None:
    standby = fail(deployment, "kill_instance")
    deployment.until(lambda: served_by(deployment, standby), "the share")
    [lent] = [each for each in servers(deployment) if each["stands_in_for"]]
    for status in ("active", "error"):
        reset = {"reset_status": {"status": status}}
        deployment.call("POST", f"/share-servers/{lent['id']}/action", reset)
        with deployment.database.begin() as connection:
            share_servers.change(connection, lent["id"], renewal_wanted=True)
            enqueue(connection, server_key(lent["id"]))
        passes(deployment, 3)
        assert served_by(deployment, standby)


def test_a_warm_server_gets_no_stand_in(deployment: MemoryDeployment) -> None:
    deployment.until(lambda: warm(deployment), "a warm server")
    with deployment.database.begin() as connection:
        second = server_choice.add(connection, server_of(deployment)["host"])
        enqueue(connection, server_key(second))

    def both() -> list[ShareServer]:
        all_warm = [each for each in servers(deployment) if not each["share_network_subnet_id"]]
        return [each for each in all_warm if each["status"] == ServerStatus.ACTIVE]

    deployment.until(lambda: len(both()) == 2, "two warm servers")
    lost = both()[0]
    assert lost["identifier"]
    deployment.cloud.delete_instance(lost["identifier"])
    deployment.until(
        lambda: lost["identifier"] not in [each["identifier"] for each in both()], "its return"
    )
    deployment.until(lambda: len(both()) == 2, "two warm servers again")
    assert not any(each["stands_in_for"] for each in servers(deployment))


def test_a_server_whose_instance_is_used_is_not_deleted(deployment: MemoryDeployment) -> None:
    standby = fail(deployment, "kill_instance")
    deployment.until(lambda: served_by(deployment, standby), "the share")
    [lent] = [each for each in servers(deployment) if each["stands_in_for"]]
    with pytest.raises(AssertionError, match="stands in for"):
        deployment.call("DELETE", f"/share-servers/{lent['id']}")
    assert served_by(deployment, standby)


def test_all_goes_with_the_server(deployment: MemoryDeployment) -> None:
    standby, network = fail(deployment, "kill_instance"), deployment.network()
    deployment.until(lambda: served_by(deployment, standby), "the share")
    deployment.call("DELETE", f"/shares/{share_of(deployment)}")
    deployment.gone("shares")
    deployment.call("DELETE", f"/share-networks/{network}")
    deployment.until(
        lambda: [each["identifier"] for each in servers(deployment)] == [warm(deployment)],
        "all but the warm server to go",
    )
    kept = {server_key(each["id"]) for each in servers(deployment)}
    deployment.until(lambda: owners(deployment.cloud) <= kept, "all that belonged to it to go")


def owners(cloud: Any) -> set[str]:
    things = [*cloud.compute.list_instances(), *cloud.networks.list_ports()]
    return {each.owner for each in things}
