"""What is wrong with Atoll itself is not held against service instances."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import delete

from atoll.db.tables import driver_private_data
from atoll.engine.queue import enqueue
from atoll.lifecycle import doctor
from harness.memory_deployment import MemoryDeployment

PATIENCE = 0.5


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """A share with data in it, which is looked at often."""
    made = new_deployment(reconcile_interval=0.2, replace_dead_after=PATIENCE)
    made.start_worker()
    share_id = made.create()
    made.settled(share_id)
    made.allow(share_id)
    made.settled(share_id)
    made.mount(share_id).write("data", b"precious")
    return made


def share_of(deployment: MemoryDeployment) -> str:
    [share] = deployment.call("GET", "/shares")["shares"]
    return str(share["id"])


def untouched(deployment: MemoryDeployment) -> None:
    """No instance was reset or deleted, and the client's data is there."""
    counts = deployment.cloud.journal.count
    assert (counts("reboot_instance"), counts("delete_instance")) == (0, 0)
    assert deployment.mount(share_of(deployment)).read("data") == b"precious"


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
