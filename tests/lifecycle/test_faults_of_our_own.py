"""What is wrong with Atoll itself is not held against service instances."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import delete

from atoll.cli import servers
from atoll.db import operations, share_servers
from atoll.db.tables import driver_private_data
from atoll.engine.queue import enqueue
from atoll.errors import Conflict
from atoll.lifecycle import doctor
from atoll.model.states import OperationStatus
from harness.memory_deployment import ENDS, MemoryDeployment

PATIENCE = 0.5


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """A share with data in it, which is looked at often."""
    made = new_deployment(reconcile_interval=0.2, replace_dead_after=PATIENCE)
    made.start_worker()
    made.served()
    return made


def share_of(deployment: MemoryDeployment) -> str:
    [share] = deployment.call("GET", "/shares")["shares"]
    return str(share["id"])


def untouched(deployment: MemoryDeployment) -> None:
    """No instance was reset or deleted, and the clients' data is there."""
    assert touched(deployment) == []
    for share in deployment.call("GET", "/shares")["shares"]:
        assert deployment.mount(share["id"]).read("data") == b"precious"


def touched(deployment: MemoryDeployment) -> list[str]:
    """The calls that reset or deleted instances."""
    journal = deployment.cloud.journal
    found = [*journal.calls("reboot_instance"), *journal.calls(ENDS)]
    return [" ".join(f"{call.name} {call.about}".split()[:2]) for call in found]


def another_key(path: Path) -> None:
    path.write_bytes(Fernet.generate_key())


def no_key(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [Path.unlink, another_key, no_key])
def test_a_worker_without_the_databases_key_does_not_start(
    deployment: MemoryDeployment, spoil: Callable[[Path], None]
) -> None:
    deployment.stop_workers()
    key = deployment.settings.secret_key
    right = key.read_bytes()
    spoil(key)
    wrong = key.read_bytes() if key.exists() else None
    worker = deployment.start_worker()
    worker.join(30)
    assert worker.exitcode == 1
    assert (key.read_bytes() if key.exists() else None) == wrong
    [finding] = doctor.secret_key(deployment.settings, deployment.database)
    assert not finding.ok
    assert "Restore the file secret.key" in finding.todo
    untouched(deployment)

    key.write_bytes(right)
    deployment.start_worker()
    deployment.allow(share_of(deployment), "10.0.0.7")
    assert deployment.settled(share_of(deployment))["access_rules_status"] == "active"
    [finding] = doctor.secret_key(deployment.settings, deployment.database)
    assert finding.ok
    untouched(deployment)


def test_an_instance_whose_login_key_is_lost_is_left_alone(deployment: MemoryDeployment) -> None:
    deployment.stop_workers()
    lost = driver_private_data.c.key.startswith("login_key")
    with deployment.database.begin() as connection:
        assert connection.execute(delete(driver_private_data).where(lost)).rowcount
    deployment.start_worker()
    deployment.allow(share_of(deployment), "10.0.0.7")
    time.sleep(8 * PATIENCE)
    untouched(deployment)


def test_an_instance_that_answers_that_it_is_busy_is_alive(deployment: MemoryDeployment) -> None:
    for error in ("GuestBusy", "GuestError"):
        deployment.cloud.faults.fail("health", error, times=None)
        server = deployment.share(share_of(deployment))["share_server_id"]
        with deployment.database.begin() as connection:
            enqueue(connection, f"share_server/{server}")
        time.sleep(6 * PATIENCE)
        deployment.cloud.faults.clear()
    untouched(deployment)
    deployment.allow(share_of(deployment), "10.0.0.7")
    assert deployment.settled(share_of(deployment))["access_rules_status"] == "active"


@pytest.fixture
def five(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """Five share servers with a share each."""
    made = new_deployment(
        reconcile_interval=0.2, replace_dead_after=6 * PATIENCE, max_shares_per_share_server=1
    )
    made.start_worker()
    for _ in range(5):
        made.served()
    return made


def silent(deployment: MemoryDeployment) -> list[str]:
    """The servers that an operator sees to be silent."""
    seen = servers.listed(deployment.settings, deployment.database)
    return [server.id for server in seen if server.silent_since]


def cut_off(deployment: MemoryDeployment) -> None:
    """Have the controller's way to all instances fail, while their clients are served."""
    for call in ("open_guest", "health", "_null_call", "_clients_null_call"):
        deployment.cloud.faults.fail(call, "GuestUnreachable", times=None)


def test_instances_that_fall_silent_together_are_left_alone(five: MemoryDeployment) -> None:
    cut_off(five)
    five.until(lambda: len(silent(five)) == 5, "silence")
    time.sleep(20 * PATIENCE)
    untouched(five)
    [finding] = doctor.silent_servers(five.database)
    assert not finding.ok
    assert "5 of 5 don't answer" in finding.detail
    failed = [row["error"] for row in operations_of(five, "share_server/")]
    assert any("5 of 5 service instances fell silent together" in error for error in failed)

    five.cloud.faults.clear()
    five.until(lambda: not silent(five), "all to answer")
    untouched(five)
    [finding] = doctor.silent_servers(five.database)
    assert finding.ok


def operations_of(deployment: MemoryDeployment, prefix: str) -> list[Any]:
    with deployment.database.read() as connection:
        found = operations.in_status(connection, list(OperationStatus))
    return [row for row in found if row["resource"].startswith(prefix) and row["error"]]


def test_an_only_instance_that_clients_reach_is_left_alone(deployment: MemoryDeployment) -> None:
    """No other instance tells that the management network is at fault, but the clients' does."""
    for call in ("open_guest", "health", "_null_call"):
        deployment.cloud.faults.fail(call, "GuestUnreachable", times=None)
    deployment.until(lambda: silent(deployment), "silence")
    time.sleep(30 * PATIENCE)
    untouched(deployment)
    [failed] = {row["error"] for row in operations_of(deployment, "share_server/")}
    assert "answers clients" in failed
    [server] = silent(deployment)
    assert f"atoll server recover {server}" in failed

    assert servers.recover(deployment.database, [server])
    deployment.until(lambda: touched(deployment), "a cure")
    deployment.cloud.faults.clear()
    deployment.until(lambda: not silent(deployment), "it to answer")


def test_an_operator_confirms_that_they_are_at_fault(five: MemoryDeployment) -> None:
    cut_off(five)
    five.until(lambda: len(silent(five)) == 5, "silence")
    time.sleep(6 * PATIENCE)
    untouched(five)
    one, *_ = silent(five)
    instances = five.cloud.compute.list_instances()
    others = [each.id for each in instances if each.owner != f"share_server/{one}"]
    assert len(others) == 4
    assert servers.recover(five.database, [one]) == [one]
    five.until(lambda: touched(five), "a cure")
    five.cloud.faults.clear()
    five.until(lambda: not silent(five), "all to answer")
    assert not [call for call in touched(five) if call.split()[1] in others]
    with pytest.raises(Conflict):
        servers.recover(five.database, [one])


def test_one_of_them_that_hangs_is_cured(five: MemoryDeployment) -> None:
    instance, *_ = sorted(each.id for each in five.cloud.compute.list_instances())
    five.cloud.hang_instance(instance)
    five.until(lambda: five.cloud.journal.count("reboot_instance"), "a reset")
    five.until(lambda: not silent(five), "all to answer")
    assert set(touched(five)) == {f"compute.reboot_instance {instance}"}


def test_time_that_no_worker_has_seen_is_no_silence(deployment: MemoryDeployment) -> None:
    """One missed look before a long stop: the instance is reset before it is given up."""
    server = deployment.share(share_of(deployment))["share_server_id"]
    instance = deployment.call("GET", f"/share-servers/{server}")["share_server"]["identifier"]
    deployment.stop_workers()
    with deployment.database.begin() as connection:
        share_servers.change(connection, server, unhealthy_since=time.time() - 1000)
    deployment.cloud.hang_instance(instance)
    deployment.start_worker()
    deployment.until(lambda: deployment.cloud.journal.count("reboot_instance"), "a reset")
    deployment.until(lambda: not silent(deployment), "it to answer")
    assert deployment.cloud.journal.count(ENDS) == 0


def test_the_instances_of_a_rebooted_host_are_started(five: MemoryDeployment) -> None:
    """The cloud says that the instances are off, so no operator has to confirm their start."""
    for instance in five.cloud.compute.list_instances():
        five.cloud.kill_instance(instance.id)
    five.until(lambda: five.cloud.journal.count("reboot_instance") == 5, "all to be started")
    five.until(lambda: not silent(five), "all to answer")
    assert five.cloud.journal.count(ENDS) == 0
    errors = [row["error"] for row in operations_of(five, "share_server/")]
    assert not [error for error in errors if "fell silent together" in error]
