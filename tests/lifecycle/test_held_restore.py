"""After a restore nothing that the database does not know is touched, and nobody comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from atoll.db import export_locations, operations, owners
from atoll.db.database import Database
from atoll.model.keys import share_key
from atoll.model.states import UNFINISHED_OPERATIONS
from harness.memory_deployment import CLIENT, MemoryDeployment
from tests.lifecycle.operator import Operator
from tests.lifecycle.test_restore import passes, things

DENIED, LATER = "10.0.0.202", "10.0.0.203"


class Restored:
    """A deployment whose database is older than its cloud.

    Since the backup, a client was denied and another one allowed, a token was revoked, an idle
    share server got a share, a leftover was made known, and a share was deleted and another grown.
    """

    def __init__(self, deployment: MemoryDeployment) -> None:
        self.deployment = deployment
        self.operator = Operator(deployment)
        deployment.start_worker()
        self.share = deployment.served()
        self.denied = deployment.allow(self.share, DENIED)
        self.deleted, self.grown = deployment.create(), deployment.create()
        made = deployment.call("POST", "/share-networks", {"share_network": {"name": "second"}})
        self.network = made["share_network"]["id"]
        first = deployment.create(share_network_id=self.network)
        for share in (self.share, self.deleted, self.grown, first):
            deployment.settled(share)
        deployment.call("DELETE", f"/shares/{first}")
        deployment.until(lambda: len(deployment.call("GET", "/shares")["shares"]) == 3, "it to go")
        self.leaked = self._token("leaked")
        deployment.stop_workers()
        with deployment.database.begin() as connection:
            owners.remember(connection, "share/removed")
        self.backup = self.operator.backup()
        deployment.start_worker()
        assert self.operator.run("token", "revoke", "leaked").exit_code == 0
        deployment.act(self.share, deny_access={"access_id": self.denied})
        deployment.allow(self.share, LATER, "ro")
        deployment.call("DELETE", f"/shares/{self.deleted}")
        deployment.act(self.grown, extend={"new_size": 3})
        self.newer = deployment.create(share_network_id=self.network)
        for share in (self.share, self.grown, self.newer):
            deployment.settled(share)
        deployment.until(
            lambda: deployment.cloud.volumes.find_volume(share_key(self.deleted)) is None, "it"
        )
        deployment.stop_workers()
        self.there = things(deployment)

    def _token(self, name: str) -> str:
        return self.operator.run("token", "create", "default", "--name", name).stdout.strip()

    def restore(self) -> None:
        """Put the backup back, start a worker, and wait until it has noticed.

        Servers that are idle in the backup would be removed at once.
        The leftover is of a share that was removed before the backup was made.
        """
        self.leftover = self.deployment.cloud.volumes.create_volume("share/removed", 1).id
        self.there = things(self.deployment)
        self.operator.restore(self.backup)
        self.deployment.configure(unused_share_server_cleanup_interval=1)
        self.deployment.start_worker()
        self.deployment.until(self.deployment.is_refused, "the hold")

    def check(self) -> Any:
        return json.loads(self.operator.run("restore", "check", "--json").stdout)

    def admits(self, address: str) -> bool:
        try:
            self.deployment.cloud.client(address).mount(self.export)
        except Exception:  # noqa: BLE001 - the simulation's refusal, whichever it is
            return False
        return True

    @property
    def export(self) -> str:
        with self.deployment.database.read() as connection:
            found = export_locations.of_share(connection, self.share, with_admin_only=False)
        return str(found[0]["path"])


@pytest.fixture
def restored(new_deployment: Callable[..., MemoryDeployment]) -> Restored:
    made = new_deployment(reconcile_interval=0.3)
    return Restored(made)


def unfinished(database: Database) -> list[str]:
    with database.read() as connection:
        found = operations.in_status(connection, UNFINISHED_OPERATIONS)
    return [each["resource"] for each in found if not each["resource"].endswith("/all")]


def test_nothing_is_touched_until_the_release(restored: Restored) -> None:
    deployment = restored.deployment
    restored.restore()
    passes(deployment, 6)
    assert things(deployment) == restored.there
    assert not restored.admits(DENIED)
    assert restored.admits(CLIENT)
    assert restored.admits(LATER)
    found = restored.operator.finding("Restore")
    assert not found["ok"]
    assert "restore release" in found["todo"]

    deployment.use_token(restored.leaked)
    assert deployment.is_refused()
    restored.operator.renew_token()
    assert not deployment.is_refused()


def test_the_check_names_exactly_what_differs(restored: Restored) -> None:
    restored.restore()
    passes(restored.deployment)
    found = restored.check()
    assert {each["owner"] for each in found["newer"]} == {share_key(restored.newer)}
    [volume] = found["newer"]
    assert (volume["kind"], volume["size_gib"]) == ("volume", 1)
    assert volume["created_at"]
    assert volume["used_by"]
    different = {each["resource"]: each["detail"] for each in found["different"]}
    assert different.pop(share_key(restored.grown)) == "1 GiB in the database, 3 GiB in the cloud"
    [server] = different
    assert server.startswith("share_server/")
    assert "no shares in the database, and serves 1" in different[server]
    assert [each["resource"] for each in found["missing"]] == [share_key(restored.deleted)]
    [access] = found["access"]
    assert access["share_id"] == restored.share
    assert access["only_in_database"] == [f"{DENIED} (rw)"]
    assert access["only_on_instance"] == [f"{LATER} (ro)"]
    assert {token["name"] for token in found["tokens"]} == {"first", "leaked"}
    assert found["unseen"] == []

    text = restored.operator.run("restore", "check")
    assert text.exit_code == 1
    for word in (DENIED, LATER, "leaked", restored.newer, restored.deleted, "→"):
        assert word in text.stdout


def test_the_release_ends_the_hold(restored: Restored) -> None:
    deployment, operator = restored.deployment, restored.operator
    restored.restore()
    undecided = operator.run("restore", "release", "--yes")
    assert undecided.exit_code == 1
    assert "--revoke-tokens" in str(undecided.exception)
    operator.renew_token()
    done = operator.run("restore", "release", "--revoke-tokens", "--yes")
    assert done.exit_code == 0, done.output
    for word in (DENIED, LATER, "leaked", "is deleted"):
        assert word in done.stdout
    deployment.until(lambda: restored.admits(DENIED), "the database's rules")
    assert not restored.admits(LATER)
    deployment.until(
        lambda: deployment.cloud.volumes.get_volume(restored.leftover) is None, "the leftover"
    )
    assert deployment.cloud.volumes.find_volume(share_key(restored.newer)) is not None
    assert operator.finding("Restore")["ok"]
    deployment.use_token(restored.leaked)
    assert deployment.is_refused()
    deployment.stop_workers()
    deployment.start_worker()
    passes(deployment)
    assert operator.run("restore", "release").stdout == "No restore waits for its release.\n"


def test_a_users_own_request_brings_nobody_else_back(restored: Restored) -> None:
    deployment = restored.deployment
    restored.restore()
    restored.operator.renew_token()
    deployment.allow(restored.share, "10.0.0.204")
    assert deployment.settled(restored.share)["access_rules_status"] == "active"
    assert restored.admits("10.0.0.204")
    assert restored.admits(LATER)
    assert not restored.admits(DENIED)
    new = deployment.create()
    assert deployment.settled(new)["status"] == "available"
    deployment.act(restored.share, deny_access={"access_id": restored.denied})
    deployment.settled(restored.share)
    restored.operator.release()
    passes(deployment)
    assert restored.admits("10.0.0.204")
    assert not restored.admits(DENIED)


def test_an_operator_may_say_that_it_was_restored(restored: Restored) -> None:
    """Before any worker starts, and on a machine that has nothing to compare."""
    deployment, operator = restored.deployment, restored.operator
    deployment.settings.witness.unlink()
    operator.restore(restored.backup)
    done = operator.run("restore", "begin")
    assert done.exit_code == 0, done.output
    deployment.until(deployment.is_refused, "the hold")
    operator.renew_token()
    assert operator.run("restore", "begin").exit_code == 0
    assert not deployment.is_refused()
    deployment.start_worker()
    passes(deployment)
    assert things(deployment) == restored.there
    assert not restored.admits(DENIED)


def test_a_new_machine_notices_it_by_what_the_cloud_has(restored: Restored) -> None:
    deployment = restored.deployment
    deployment.settings.witness.unlink()
    restored.restore()
    assert "never known" in restored.operator.finding("Restore")["detail"]


def test_an_idle_instance_that_hangs_is_not_reset_meanwhile(restored: Restored) -> None:
    deployment = restored.deployment
    restored.restore()
    [served] = {
        volume.instance_id
        for volume in deployment.cloud.volumes.list_volumes()
        if volume.owner == share_key(restored.share)
    }
    deployment.cloud.hang_instance(str(served))
    passes(deployment, 8)
    assert things(deployment) == restored.there
    assert not deployment.cloud.journal.calls("reboot_instance", about=str(served))


def test_requests_of_the_backup_wait_for_the_release(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    deployment = new_deployment(reconcile_interval=0.3)
    operator = Operator(deployment)
    deployment.start_worker()
    share = deployment.served()
    deployment.stop_workers()
    deployment.call("DELETE", f"/shares/{share}")
    backup = operator.backup()
    deployment.start_worker()
    passes(deployment)
    deployment.stop_workers()
    volume = deployment.cloud.volumes.create_volume(share_key(share), 1)  # as if it had been kept
    operator.restore(backup)
    deployment.start_worker()
    deployment.until(deployment.is_refused, "the hold")
    passes(deployment)
    assert unfinished(deployment.database) == []
    assert deployment.cloud.volumes.get_volume(volume.id) is not None
    done = operator.run("restore", "release", "--keep-tokens")
    assert f"share/{share} (deleting)" in done.stdout
    operator.release()
    deployment.until(lambda: deployment.cloud.volumes.get_volume(volume.id) is None, "its deletion")


def test_a_warm_server_that_others_use_by_now_is_given_to_nobody(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    deployment = new_deployment(reconcile_interval=0.3, warm_service_instances=1)
    operator = Operator(deployment)
    deployment.start_worker()
    [warm] = deployment.until(
        lambda: [key for key, one in operator.servers().items() if one["status"] == "active"],
        "a warm server",
    )
    deployment.stop_workers()
    backup = operator.backup()
    deployment.start_worker()
    newer = deployment.create()
    deployment.settled(newer)
    assert server_of(deployment, newer) == warm
    deployment.stop_workers()
    operator.restore(backup)
    deployment.start_worker()
    deployment.until(deployment.is_refused, "the hold")
    operator.renew_token()
    meanwhile = deployment.create()
    deployment.settled(meanwhile)
    operator.release()
    assert operator.servers()[warm]["status"] == "inactive"
    made = deployment.call("POST", "/share-networks", {"share_network": {"name": "second"}})
    later = deployment.create(share_network_id=made["share_network"]["id"])
    deployment.settled(later)
    assert warm not in (server_of(deployment, meanwhile), server_of(deployment, later))


def server_of(deployment: MemoryDeployment, share_id: str) -> str:
    return str(deployment.share(share_id)["share_server_id"])
