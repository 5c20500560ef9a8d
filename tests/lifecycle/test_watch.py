"""Failures are noticed within seconds, without the reconcile pass."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from atoll.db import operations, share_servers
from atoll.engine.queue import enqueue
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.seal import open_seal
from atoll.lifecycle.watch import Watch
from atoll.model.keys import server_key
from harness.memory_deployment import MemoryDeployment

NOTICED = 10.0
"""Seconds within which a failure must be noticed, also on a busy machine."""


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """Shares on three servers, and no reconcile pass that could notice anything."""
    made = new_deployment(replace_dead_after=1, max_shares_per_share_server=1)
    made.start_worker()
    for _ in range(3):
        made.served()
    return made


def instances(deployment: MemoryDeployment) -> list[str]:
    return sorted(each.id for each in deployment.cloud.compute.list_instances())


def served(deployment: MemoryDeployment) -> bool:
    try:
        for share in deployment.call("GET", "/shares")["shares"]:
            deployment.mount(share["id"]).read("data")
    except (TimeoutError, FileNotFoundError):
        return False
    return True


def test_an_instance_that_stops_is_started(deployment: MemoryDeployment) -> None:
    first, *_ = instances(deployment)
    deployment.cloud.kill_instance(first)
    deployment.until(lambda: served(deployment), "the shares", NOTICED)
    assert deployment.cloud.journal.count("reboot_instance") == 1


def test_an_instance_that_hangs_is_reset(deployment: MemoryDeployment) -> None:
    first, *_ = instances(deployment)
    deployment.cloud.hang_instance(first)
    deployment.until(lambda: served(deployment), "the shares", 2 * NOTICED)
    reset = deployment.cloud.journal.calls("reboot_instance")
    assert {call.about.split()[0] for call in reset} == {first}


def test_an_instance_that_is_gone_is_replaced(deployment: MemoryDeployment) -> None:
    first, *others = instances(deployment)
    deployment.cloud.delete_instance(first)
    deployment.until(lambda: served(deployment), "the shares", NOTICED)
    assert set(others) < set(instances(deployment))


def test_instances_that_hang_together_are_left_alone(deployment: MemoryDeployment) -> None:
    """All of them are marked before the first is examined, so that none looks like the only one."""
    for each in instances(deployment):
        deployment.cloud.hang_instance(each)
    time.sleep(2 * NOTICED)
    for each in instances(deployment):
        deployment.cloud.hang_instance(each, hung=False)
    deployment.until(lambda: served(deployment), "the shares")
    assert deployment.cloud.journal.count("reboot_instance") == 0
    assert deployment.cloud.journal.count("delete_instance") == 0


def test_an_instance_that_serves_without_its_agent_is_left_alone(
    deployment: MemoryDeployment,
) -> None:
    share = deployment.call("GET", "/shares")["shares"][0]["id"]
    server = deployment.share(share)["share_server_id"]
    instance = deployment.call("GET", f"/share-servers/{server}")["share_server"]["identifier"]
    for call in ("open_guest", "health"):
        deployment.cloud.faults.fail(call, "GuestUnreachable", times=None, about=instance)
    with deployment.database.begin() as connection:
        enqueue(connection, server_key(server))
    time.sleep(5)
    assert deployment.cloud.journal.count("reboot_instance") == 0
    assert deployment.mount(share).read("data") == b"precious"


def test_what_is_noticed_while_the_database_fails_is_checked_later(
    deployment: MemoryDeployment,
) -> None:
    deployment.stop_workers()
    first, *_ = instances(deployment)
    database = deployment.database
    seal = open_seal(deployment.settings.secret_key, database)
    watch = Watch(Backend(deployment.settings, database, deployment.cloud, seal))

    def rename(old: str, new: str) -> None:
        with database.begin() as connection:
            connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    deployment.cloud.kill_instance(first)
    rename("share_servers", "lost")
    with pytest.raises(SQLAlchemyError):
        watch.look()
    rename("lost", "share_servers")
    watch.look()
    with database.read() as connection:
        server = share_servers.where(connection, identifier=first)[0]
        assert operations.is_busy(connection, server_key(server["id"]))


def test_users_are_told_when_their_share_is_served_again(deployment: MemoryDeployment) -> None:
    first, *_ = instances(deployment)
    with deployment.database.begin() as connection:
        [server] = share_servers.where(connection, identifier=first)
        share_servers.change(connection, server["id"], unhealthy_since=time.time() - 100)
        enqueue(connection, server_key(server["id"]))

    def told() -> list[str]:
        found = deployment.call("GET", "/messages")["messages"]
        return [each["user_message"] for each in found]

    [message] = deployment.until(told, "a message")
    assert "did not answer for 10" in message
    assert "serves the share again" in message
