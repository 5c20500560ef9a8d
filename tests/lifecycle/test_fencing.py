"""A volume goes to another instance only when its old writer is proved to have ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from atoll.db import operations, private_data, share_servers
from atoll.driver.fence import ENDED_ID
from atoll.lifecycle import doctor
from atoll.model.states import OperationStatus
from harness.memory_deployment import MemoryDeployment
from tests.lifecycle.operator import Operator

PATIENCE = 0.5


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """A share with data in it, which is looked at often."""
    made = new_deployment(reconcile_interval=0.2, replace_dead_after=PATIENCE)
    made.start_worker()
    made.served()
    return made


def server_of(deployment: MemoryDeployment) -> tuple[str, str]:
    """Ids of the one share server, and of its instance."""
    [server] = deployment.call("GET", "/share-servers")["share_servers"]
    found = deployment.call("GET", f"/share-servers/{server['id']}")["share_server"]
    return server["id"], found["identifier"]


def replaced(deployment: MemoryDeployment, old: str) -> Callable[[], bool]:
    def look() -> bool:
        _, instance = server_of(deployment)
        return instance != old and not silent(deployment)

    return look


def silent(deployment: MemoryDeployment) -> bool:
    with deployment.database.read() as connection:
        return any(row["unhealthy_since"] for row in share_servers.where(connection))


def unfenced(deployment: MemoryDeployment) -> str:
    with deployment.database.read() as connection:
        [row] = share_servers.where(connection)
    return row["unfenced_instance"] or ""


def errors(deployment: MemoryDeployment) -> str:
    with deployment.database.read() as connection:
        found = operations.in_status(connection, list(OperationStatus))
    return " ".join(str(row["error"]) for row in found)


def check(deployment: MemoryDeployment) -> None:
    """The data is there, and no volume ever had two writers."""
    [share] = deployment.call("GET", "/shares")["shares"]
    assert deployment.mount(share["id"]).read("data") == b"precious"
    assert deployment.cloud.accidents() == []


def cut_off(deployment: MemoryDeployment, *, deleted: bool) -> tuple[str, str]:
    server, instance = server_of(deployment)
    deployment.cloud.faults.cut_off(instance)
    if deleted:
        deployment.cloud.delete_instance(instance)
    return server, instance


@pytest.mark.parametrize("deleted", [False, True])
def test_an_instance_on_a_host_that_is_cut_off_is_not_replaced(
    deployment: MemoryDeployment, deleted: bool
) -> None:
    """Neither while the cloud shows it, nor when the cloud says that it is gone."""
    server, instance = cut_off(deployment, deleted=deleted)
    deployment.until(lambda: unfenced(deployment) == instance, "a call for the operator")
    time.sleep(6 * PATIENCE)
    assert len(deployment.cloud.compute.list_instances()) == (0 if deleted else 1)
    assert deployment.cloud.journal.count("reboot_instance") == 0
    assert f"atoll server fence {server}" in errors(deployment)
    [_, finding] = doctor.silent_servers(deployment.database)
    assert not finding.ok
    assert instance in finding.detail
    assert f"atoll server fence {server}" in finding.todo
    shown = Operator(deployment).servers()[server]
    assert shown["unfenced"] == instance
    assert shown["silent_since"]

    deployment.cloud.faults.clear()  # the host comes back, and answers for it
    deployment.until(lambda: not silent(deployment), "it to be served")
    assert unfenced(deployment) == ""
    assert (server_of(deployment)[1] != instance) == deleted
    check(deployment)


def test_a_host_that_was_forced_down_has_no_instances(deployment: MemoryDeployment) -> None:
    _, instance = cut_off(deployment, deleted=False)
    deployment.until(lambda: unfenced(deployment) == instance, "a call for the operator")
    deployment.cloud.force_down(instance)
    deployment.until(replaced(deployment, instance), "a replacement")
    check(deployment)


@pytest.mark.parametrize("deleted", [False, True])
def test_an_operator_confirms_that_it_has_ended(
    deployment: MemoryDeployment, deleted: bool
) -> None:
    operator = Operator(deployment)
    server, instance = server_of(deployment)
    deployment.cloud.kill_instance(instance)  # somebody switches it off …
    cut_off(deployment, deleted=deleted)  # … on a host that does not answer
    deployment.until(lambda: unfenced(deployment) == instance, "a call for the operator")
    refused = operator.run("server", "fence", server)
    assert refused.exit_code != 0
    assert instance in refused.output
    time.sleep(4 * PATIENCE)
    assert unfenced(deployment) == instance

    assert operator.run("server", "fence", server, "--instance", "other", "--yes").exit_code != 0
    confirmed = operator.run("server", "fence", server, "--yes")
    assert confirmed.exit_code == 0, confirmed.output
    deployment.until(replaced(deployment, instance), "a replacement")
    assert unfenced(deployment) == ""
    check(deployment)

    again = operator.run("server", "fence", server, "--yes")
    assert "answers" in str(again.exception)
    _, second = cut_off(deployment, deleted=True)
    deployment.until(lambda: unfenced(deployment) == second, "another call for the operator")


def test_a_confirmation_ends_when_the_instance_answers(deployment: MemoryDeployment) -> None:
    server, instance = cut_off(deployment, deleted=False)
    deployment.until(lambda: unfenced(deployment) == instance, "a call for the operator")
    deployment.stop_workers()
    assert Operator(deployment).run("server", "fence", server, "--yes").exit_code == 0
    deployment.cloud.faults.clear()  # the operator was wrong: it answers again
    deployment.start_worker()
    deployment.until(lambda: not silent(deployment), "it to answer")
    with deployment.database.read() as connection:
        assert ENDED_ID not in private_data.read(connection, f"share_server/{server}")
    cut_off(deployment, deleted=True)
    deployment.until(lambda: unfenced(deployment) == instance, "another call for the operator")
    assert deployment.cloud.accidents() == []


def test_an_instance_in_error_is_fenced_as_well(deployment: MemoryDeployment) -> None:
    _, instance = server_of(deployment)
    deployment.cloud.faults.cut_off(instance)
    deployment.cloud.fail_instance(instance, "live migration failed")
    deployment.until(lambda: unfenced(deployment) == instance, "a call for the operator")
    deployment.cloud.faults.clear()
    deployment.until(replaced(deployment, instance), "a replacement")
    check(deployment)


def test_an_instance_that_can_not_be_fenced_is_not_renewed(deployment: MemoryDeployment) -> None:
    """The instance serves, although the cloud does not reach its host."""
    _, instance = server_of(deployment)
    [share] = deployment.call("GET", "/shares")["shares"]
    deployment.cloud.images.publish()
    deployment.cloud.faults.fail("fencing", "InstanceMayStillRun", "no proof", times=None)
    server, _ = server_of(deployment)
    with deployment.database.begin() as connection:
        share_servers.change(connection, server, renewal_wanted=True)
    Operator(deployment).run("operation", "retry", f"share_server/{server}")
    deployment.until(lambda: "no proof" in errors(deployment), "a refusal")
    assert server_of(deployment)[1] == instance
    deployment.mount(share["id"]).write("data", b"precious")
    texts: list[Any] = deployment.call("GET", "/messages")["messages"]
    assert not [text for text in texts if "can't be served" in text["user_message"]]


def test_a_worker_that_dies_after_a_proof_does_not_need_it_again(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    made = new_deployment(reconcile_interval=0.2, replace_dead_after=PATIENCE)
    made.start_worker()
    made.served()
    _, instance = server_of(made)
    made.cloud.faults.kill("fence_instance", when="after")
    made.cloud.delete_instance(instance)
    made.until(lambda: made.cloud.journal.count("fence_instance"), "a proof")
    made.start_worker()
    made.until(replaced(made, instance), "a replacement")
    check(made)


def test_a_new_server_whose_instance_can_not_be_fenced_ends_in_error(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    made = new_deployment()
    made.cloud.faults.fail("wait_for_instance", "CloudError", times=None)
    made.cloud.faults.fail("fence_instance", "InstanceMayStillRun", times=None)
    made.start_worker()
    assert made.settled(made.create())["status"] == "error"
    [server] = made.call("GET", "/share-servers")["share_servers"]
    assert server["status"] == "error"
    assert len(made.cloud.compute.list_instances()) == 1
