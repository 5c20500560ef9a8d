"""The database is put back from a backup: nothing that was made since is deleted by anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete

from atoll.db.tables import operations, share_network_subnets, shares
from atoll.engine.queue import enqueue
from atoll.errors import Invalid, NotFound
from tests import rows
from tests.lifecycle.house import House
from tests.lifecycle.operator import Operator


def passes(house: House, number: int = 3) -> None:
    """Wait until so many reconcile passes have looked at the cloud."""
    mark = house.cloud.journal.mark()
    house.until(
        lambda: house.cloud.journal.count("list_networks", since=mark) > number, "some passes"
    )


def things(house: House) -> set[str]:
    """Ids of all that there is in the cloud."""
    cloud = house.cloud
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

    def __init__(self, house: House) -> None:
        self.house = house
        self.operator = Operator(house)
        house.start_worker()
        self.old = house.create()
        house.settled(self.old)
        house.stop_workers()
        backup = self.operator.backup()
        house.start_worker()
        self.share = house.create()
        house.settled(self.share)
        house.allow(self.share)
        house.settled(self.share)
        house.mount(self.share).write("data", b"precious")
        self.snapshot = house.snapshot(self.share)
        self._available("snapshots", "snapshot", self.snapshot)
        made = house.call("POST", "/share-networks", {"share_network": {"name": "second"}})
        self.network = made["share_network"]["id"]
        elsewhere = house.create(share_network_id=self.network)
        house.settled(elsewhere)
        [server] = [
            server["id"]
            for server in house.call("GET", "/share-servers")["share_servers"]
            if server["share_network_id"] == self.network
        ]
        with house.database.read() as connection:
            [subnet] = rows.where(connection, share_network_subnets, share_network_id=self.network)
        self.forgotten = {
            f"share/{self.share}",
            f"snapshot/{self.snapshot}",
            f"share/{elsewhere}",
            f"share_server/{server}",
            f"share_network_subnet/{subnet['id']}",
        }
        house.stop_workers()
        self.there = things(house)
        self.operator.restore(backup)
        house.start_worker()

    def _available(self, collection: str, name: str, row_id: str) -> None:
        self.house.until(
            lambda: (
                self.house.call("GET", f"/{collection}/{row_id}")[name]["status"] == "available"
            ),
            f"{name} {row_id}",
        )

    def is_whole(self) -> bool:
        """Whether the pass deletes nothing, and the forgotten share is served as it was."""
        passes(self.house)
        volume = self.house.cloud.volumes.find_volume(f"share/{self.share}")
        return self.there <= things(self.house) and bool(volume and volume.instance_id)


@pytest.fixture
def restored(new_house: Callable[..., House]) -> Restored:
    return Restored(new_house(reconcile_interval=0.3))


def test_no_operation_makes_a_leftover_of_what_is_not_known(restored: Restored) -> None:
    """However one comes about: by hand, for another resource's sake, or before it is pruned."""
    with restored.house.database.begin() as connection:
        for resource in restored.forgotten | {f"share_network/{restored.network}"}:
            enqueue(connection, resource)
    restored.house.until(lambda: not _active(restored.house, restored.forgotten), "the end of it")
    assert restored.is_whole()
    with restored.house.database.begin() as connection:
        connection.execute(delete(operations).where(operations.c.status == "done"))
    assert restored.is_whole()


def test_a_retry_of_what_is_not_known_is_refused(restored: Restored) -> None:
    for resource in restored.forgotten:
        done = restored.operator.run("operation", "retry", resource)
        assert isinstance(done.exception, NotFound | Invalid), resource
    assert not _active(restored.house, restored.forgotten)
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
            restored.house.call(method, path, body)
    assert restored.is_whole()


def test_the_doctor_names_what_is_kept_and_an_operator_may_have_it_removed(
    restored: Restored,
) -> None:
    house, operator = restored.house, restored.operator
    found = operator.finding("Orphans")
    assert not found["ok"]
    for owner in restored.forgotten:
        assert owner in found["detail"]
    volume = house.cloud.volumes.find_volume(f"share/{restored.share}")
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
    house.until(lambda: operator.finding("Orphans").get("ok"), "all of it to go")
    with house.database.read() as connection:
        assert [row["id"] for row in rows.where(connection, shares)] == [restored.old]
    assert house.cloud.volumes.find_volume(f"share/{restored.old}") is not None


def test_a_retry_names_the_types(restored: Restored) -> None:
    for resource in (
        f"shares/{restored.old}", restored.old, "share/", "reconcile/none", "volume/1", ""
    ):  # fmt: skip
        done = restored.operator.run("operation", "retry", resource)
        assert isinstance(done.exception, Invalid), resource
        assert "share, snapshot, share_server, share_network" in str(done.exception)
    for resource in (f"share/{restored.old}", "reconcile/all"):
        assert restored.operator.run("operation", "retry", resource).exit_code == 0


def test_the_network_of_a_removed_subnet_is_removed(new_house: Callable[..., House]) -> None:
    """One that a worker made which had been overtaken, say."""
    house = new_house(reconcile_interval=0.3)
    house.start_worker()
    made = house.call("POST", "/share-networks", {"share_network": {"name": "second"}})
    network_id = made["share_network"]["id"]
    owner = house.until(
        lambda: next(
            (
                each.owner
                for each in house.cloud.networks.list_networks()
                if each.owner.startswith("share_network_subnet/")
                and _network_of(house, each.owner) == network_id
            ),
            None,
        ),
        "its network",
    )
    house.call("DELETE", f"/share-networks/{network_id}")
    house.until(lambda: _network_of(house, owner) is None, "its row to go")
    network = house.cloud.networks.create_network(owner)
    port = house.cloud.networks.create_port(owner, network.id)
    house.until(lambda: house.cloud.networks.get_network(network.id) is None, "it to be removed")
    assert house.cloud.networks.get_port(port.id) is None


def _network_of(house: House, owner: str) -> str | None:
    with house.database.read() as connection:
        row = rows.get(connection, share_network_subnets, owner.partition("/")[2])
    return None if row is None else str(row["share_network_id"])


def _active(house: House, resources: set[str]) -> bool:
    with house.database.read() as connection:
        found = rows.where(connection, operations, status=("queued", "running"))
    return any(row["resource"] in resources for row in found)
