"""The database is put back from a backup: nothing that was made since is deleted by anybody."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete

from atoll.db.tables import operations, share_network_subnets, shares
from atoll.engine.queue import enqueue
from atoll.errors import Invalid, NotFound
from harness.memory_deployment import MemoryDeployment
from tests import rows
from tests.lifecycle.operator import Operator


def passes(deployment: MemoryDeployment, number: int = 3) -> None:
    """Wait until so many reconcile passes have looked at the cloud."""
    mark = deployment.cloud.journal.mark()
    deployment.until(
        lambda: deployment.cloud.journal.count("list_networks", since=mark) > number, "some passes"
    )


def things(deployment: MemoryDeployment) -> set[str]:
    """Ids of all that there is in the cloud."""
    cloud = deployment.cloud
    lists: list[list[Any]] = [
        [*cloud.compute.list_instances()],
        [*cloud.volumes.list_volumes()],
        [*cloud.volumes.list_snapshots()],
        [*cloud.networks.list_ports()],
        [*cloud.networks.list_networks()],
    ]
    return {thing.id for listed in lists for thing in listed}


class Restored:
    """A deployment with one share, whose database forgot a second one and all that was with it."""

    def __init__(self, deployment: MemoryDeployment) -> None:
        self.deployment = deployment
        self.operator = Operator(deployment)
        deployment.start_worker()
        self.old = deployment.create()
        deployment.settled(self.old)
        deployment.stop_workers()
        backup = self.operator.backup()
        deployment.start_worker()
        self.share = deployment.create()
        deployment.settled(self.share)
        deployment.allow(self.share)
        deployment.settled(self.share)
        deployment.mount(self.share).write("data", b"precious")
        self.snapshot = deployment.snapshot(self.share)
        self._available("snapshots", "snapshot", self.snapshot)
        made = deployment.call("POST", "/share-networks", {"share_network": {"name": "second"}})
        self.network = made["share_network"]["id"]
        elsewhere = deployment.create(share_network_id=self.network)
        deployment.settled(elsewhere)
        [server] = [
            server["id"]
            for server in deployment.call("GET", "/share-servers")["share_servers"]
            if server["share_network_id"] == self.network
        ]
        with deployment.database.read() as connection:
            [subnet] = rows.where(connection, share_network_subnets, share_network_id=self.network)
        self.forgotten = {
            f"share/{self.share}",
            f"snapshot/{self.snapshot}",
            f"share/{elsewhere}",
            f"share_server/{server}",
            f"share_network_subnet/{subnet['id']}",
        }
        deployment.stop_workers()
        self.there = things(deployment)
        self.operator.restore(backup)
        deployment.start_worker()
        deployment.until(deployment.is_refused, "the hold")
        self.operator.release()
        deployment.until(lambda: not deployment.is_refused(), "the release")

    def _available(self, collection: str, name: str, row_id: str) -> None:
        self.deployment.until(
            lambda: (
                self.deployment.call("GET", f"/{collection}/{row_id}")[name]["status"]
                == "available"
            ),
            f"{name} {row_id}",
        )

    def is_whole(self) -> bool:
        """Whether the pass deletes nothing, and the forgotten share is served as it was."""
        passes(self.deployment)
        volume = self.deployment.cloud.volumes.find_volume(f"share/{self.share}")
        return self.there <= things(self.deployment) and bool(volume and volume.instance_id)


@pytest.fixture
def restored(new_deployment: Callable[..., MemoryDeployment]) -> Restored:
    return Restored(new_deployment(reconcile_interval=0.3))


def test_a_server_that_was_idle_in_the_backup_goes_on_serving_newer_shares(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    deployment = new_deployment(reconcile_interval=0.3)
    operator = Operator(deployment)
    deployment.start_worker()
    first = deployment.create()
    deployment.settled(first)
    deployment.call("DELETE", f"/shares/{first}")
    deployment.gone("shares")
    deployment.stop_workers()
    backup = operator.backup()
    deployment.start_worker()
    share = deployment.create()
    deployment.settled(share)
    deployment.allow(share)
    deployment.settled(share)
    mount = deployment.mount(share)
    mount.write("data", b"precious")
    deployment.stop_workers()
    there = things(deployment)
    operator.restore(backup)
    deployment.configure(unused_share_server_cleanup_interval=2)
    deployment.start_worker()
    deployment.until(deployment.is_refused, "the hold")
    operator.release()
    time.sleep(4)
    passes(deployment)
    assert things(deployment) == there
    assert mount.read("data") == b"precious"

    assert operator.run("orphan", "remove", f"share/{share}", "--yes").exit_code == 0
    deployment.gone("share-servers")


def test_no_operation_makes_a_leftover_of_what_is_not_known(restored: Restored) -> None:
    """However one comes about: by hand, for another resource's sake, or before it is pruned."""
    with restored.deployment.database.begin() as connection:
        for resource in restored.forgotten | {f"share_network/{restored.network}"}:
            enqueue(connection, resource)
    restored.deployment.until(
        lambda: not _active(restored.deployment, restored.forgotten), "the end of it"
    )
    assert restored.is_whole()
    with restored.deployment.database.begin() as connection:
        connection.execute(delete(operations).where(operations.c.status == "done"))
    assert restored.is_whole()


def test_a_retry_of_what_is_not_known_is_refused(restored: Restored) -> None:
    for resource in restored.forgotten:
        done = restored.operator.run("operation", "retry", resource)
        assert isinstance(done.exception, NotFound | Invalid), resource
    assert not _active(restored.deployment, restored.forgotten)
    assert restored.is_whole()


def test_clients_that_still_know_it_destroy_nothing(restored: Restored) -> None:
    share, snapshot = restored.share, restored.snapshot
    wishes: list[tuple[str, str, Any]] = [
        ("GET", f"/shares/{share}", None),
        ("DELETE", f"/shares/{share}", None),
        ("POST", f"/shares/{share}/action", {"force_delete": None}),
        ("POST", f"/shares/{share}/action", {"reset_status": {"status": "error"}}),
        ("POST", f"/shares/{share}/action", {"extend": {"new_size": 2}}),
        ("POST", "/snapshots", {"snapshot": {"share_id": share}}),
        ("DELETE", f"/snapshots/{snapshot}", None),
        ("POST", f"/snapshots/{snapshot}/action", {"force_delete": None}),
        ("DELETE", f"/share-networks/{restored.network}", None),
    ]
    for method, path, body in wishes:
        with pytest.raises(AssertionError, match="404"):
            restored.deployment.call(method, path, body)
    assert restored.is_whole()


def test_the_doctor_names_what_is_kept_and_an_operator_may_have_it_removed(
    restored: Restored,
) -> None:
    deployment, operator = restored.deployment, restored.operator
    found = operator.finding("Orphans")
    assert not found["ok"]
    for owner in restored.forgotten:
        assert owner in found["detail"]
    volume = deployment.cloud.volumes.find_volume(f"share/{restored.share}")
    assert volume is not None
    assert volume.id in found["detail"]
    listed = operator.run("orphan", "list", "--json").stdout
    assert volume.id in listed
    refused = operator.run("orphan", "remove", f"share/{restored.share}")
    assert refused.exit_code != 0
    assert volume.id in str(refused.exception)
    assert operator.run("orphan", "remove", f"share/{restored.old}", "--yes").exit_code != 0
    assert restored.is_whole()
    for owner in restored.forgotten:
        done = operator.run("orphan", "remove", owner, "--yes")
        assert done.exit_code == 0, done.output
    deployment.until(lambda: operator.finding("Orphans").get("ok"), "all of it to go")
    with deployment.database.read() as connection:
        assert [row["id"] for row in rows.where(connection, shares)] == [restored.old]
    assert deployment.cloud.volumes.find_volume(f"share/{restored.old}") is not None


def test_a_retry_names_the_types(restored: Restored) -> None:
    for resource in (
        f"shares/{restored.old}", restored.old, "share/", "reconcile/none", "volume/1", ""
    ):  # fmt: skip
        done = restored.operator.run("operation", "retry", resource)
        assert isinstance(done.exception, Invalid), resource
        assert "share, snapshot, share_server, share_network" in str(done.exception)
    for resource in (f"share/{restored.old}", "reconcile/all"):
        assert restored.operator.run("operation", "retry", resource).exit_code == 0


def test_the_network_of_a_removed_subnet_is_removed(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    """One that a worker made which had been overtaken, say."""
    deployment = new_deployment(reconcile_interval=0.3)
    deployment.start_worker()
    made = deployment.call("POST", "/share-networks", {"share_network": {"name": "second"}})
    network_id = made["share_network"]["id"]
    owner = deployment.until(
        lambda: next(
            (
                each.owner
                for each in deployment.cloud.networks.list_networks()
                if each.owner.startswith("share_network_subnet/")
                and _network_of(deployment, each.owner) == network_id
            ),
            None,
        ),
        "its network",
    )
    deployment.call("DELETE", f"/share-networks/{network_id}")
    deployment.until(lambda: _network_of(deployment, owner) is None, "its row to go")
    network = deployment.cloud.networks.create_network(owner)
    port = deployment.cloud.networks.create_port(owner, network.id)
    deployment.until(
        lambda: deployment.cloud.networks.get_network(network.id) is None, "it to be removed"
    )
    assert deployment.cloud.networks.get_port(port.id) is None


def _network_of(deployment: MemoryDeployment, owner: str) -> str | None:
    with deployment.database.read() as connection:
        row = rows.get(connection, share_network_subnets, owner.partition("/")[2])
    return None if row is None else str(row["share_network_id"])


def _active(deployment: MemoryDeployment, resources: set[str]) -> bool:
    with deployment.database.read() as connection:
        found = rows.where(connection, operations, status=("queued", "running"))
    return any(row["resource"] in resources for row in found)
