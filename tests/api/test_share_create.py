"""POST /shares: what is accepted, what is refused, and that a refusal leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.db import services, share_networks, share_types, shares, subnets
from atoll.db.database import Database
from atoll.db.tables import quotas
from tests import rows
from tests.api.conftest import ApiInProcess, Client
from tests.api.scene import add_share, add_snapshot, queued

UNKNOWN = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def network(database: Database) -> str:
    with database.begin() as connection:
        network_id = share_networks.create(connection, "blue", "blue-user", name="net")
        subnets.create(connection, network_id)
        return network_id


@pytest.fixture
def wish(network: str) -> dict[str, Any]:
    return {"share_proto": "NFS", "size": 1, "share_network_id": network}


def nothing_made(world: ApiInProcess) -> bool:
    everything = world.client("ops", "admin").get("/shares?all_tenants=1")
    return everything == {"shares": []} and not queued(world.database)


def test_the_row_and_its_operation_are_made_together(
    world: ApiInProcess, member: Client, wish: dict[str, Any]
) -> None:
    body = {"share": {**wish, "name": "one", "description": "first", "metadata": {"a": "b"}}}
    result = member("POST", "/shares", body)
    assert result.status_code == 200
    share = result.json["share"]
    assert share["status"] == "creating"
    assert share["name"] == "one"
    assert share["metadata"] == {"a": "b"}
    assert share["share_type_name"] == "default"
    assert share["project_id"] == "blue"
    assert share["user_id"] == "blue-user"
    assert share["availability_zone"] == "nova"
    assert share["snapshot_support"] is True
    assert share["access_rules_status"] == "active"
    assert queued(world.database) == {f"share/{share['id']}"}
    assert member.get(f"/shares/{share['id']}")["share"] == share


def test_empty_texts_are_as_good_as_absent(member: Client, wish: dict[str, Any]) -> None:
    wish |= {"snapshot_id": "", "availability_zone": "", "share_type": "", "volume_type": ""}
    result = member("POST", "/shares", {"share": wish})
    assert result.status_code == 200, result.text
    share = result.json["share"]
    assert (share["status"], share["snapshot_id"]) == ("creating", None)
    assert (share["availability_zone"], share["share_type_name"]) == ("nova", "default")


def test_old_clients_spell_it_otherwise(member: Client, wish: dict[str, Any]) -> None:
    wish |= {"display_name": "old", "volume_type": "default", "share_proto": "nfs", "size": "2"}
    result = member("POST", "/shares", {"share": wish}, version="2.0")
    assert result.status_code == 200
    share = result.json["share"]
    assert (share["name"], share["size"], share["share_proto"]) == ("old", 2, "NFS")
    assert share["share_type"] == "default"
    assert share["export_locations"] == []
    assert "access_rules_status" not in share


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"size": 0}, 400, "size"),
        ({"size": -1}, 400, "size"),
        ({"size": "abc"}, 400, "size"),
        ({"size": 1.5}, 400, "size"),
        ({"size": 2**31}, 400, "size"),
        ({"size": 10**30}, 400, "size"),
        ({"size": None}, 400, "size"),
        ({"size": [1]}, 400, "size"),
        ({"share_proto": "NTFS"}, 400, "protocol"),
        ({"share_proto": 7}, 400, "share_proto"),
        ({"share_proto": "$(x)"}, 400, "protocol"),
        ({"name": "x" * 256}, 400, "name"),
        ({"name": {"a": 1}}, 400, "name"),
        ({"name": "a\0b"}, 400, "NUL"),
        ({"metadata": {"a": 1}}, 400, "metadata"),
        ({"metadata": {"a": ""}}, 400, "metadata"),
        ({"metadata": {"": "a"}}, 400, "metadata"),
        ({"metadata": {"a": "x" * 1024}}, 400, "metadata"),
        ({"metadata": "a=b"}, 400, "metadata"),
        ({"metadata": {"atoll:squash": "everybody"}}, 400, "squash"),
        ({"metadata": {"__affinity_same_host": "x"}}, 403, "admin only"),
        ({"share_type": "none-such"}, 404, "type"),
        ({"share_type": "default", "volume_type": "default"}, 400, "both"),
        ({"share_network_id": None}, 400, "network must be set"),
        ({"share_network_id": ""}, 400, "network must be set"),
        ({"share_network_id": "x" * 65}, 400, "share_network_id"),
        ({"share_network_id": UNKNOWN}, 404, "network"),
        ({"share_network_id": "; rm -rf /"}, 404, "network"),
        ({"snapshot_id": UNKNOWN}, 404, "Snapshot"),
        ({"availability_zone": "moon"}, 404, "zone"),
        ({"is_public": True}, 403, "create_public_share"),
        ({"is_public": "Yes"}, 403, "create_public_share"),
        ({"is_public": "perhaps"}, 400, "is_public"),
        ({"share_group_id": UNKNOWN}, 400, "group"),
        ({"scheduler_hints": {"same_host": UNKNOWN}}, 404, "Share"),
        ({"scheduler_hints": "here"}, 400, "scheduler_hints"),
    ],
)
def test_refusals_say_why_and_leave_nothing(
    world: ApiInProcess,
    member: Client,
    wish: dict[str, Any],
    change: dict[str, Any],
    code: int,
    words: str,
) -> None:
    result = member("POST", "/shares", {"share": {**wish, **change}})
    assert result.status_code == code, result.text
    (fault,) = result.json.values()
    assert fault["code"] == code
    assert words.lower() in fault["message"].lower()
    assert nothing_made(world)


@pytest.mark.parametrize("missing", ["size", "share_proto"])
def test_required_fields(member: Client, wish: dict[str, Any], missing: str) -> None:
    del wish[missing]
    result = member("POST", "/shares", {"share": wish})
    assert result.status_code == 400
    assert missing in result.json["badRequest"]["message"]


def test_a_type_that_is_not_for_this_project_does_not_exist(
    world: ApiInProcess, member: Client, wish: dict[str, Any]
) -> None:
    with world.database.begin() as connection:
        specs = {"driver_handles_share_servers": "True"}
        secret = share_types.create(connection, "secret", specs, is_public=False)
    refused = member("POST", "/shares", {"share": {**wish, "share_type": "secret"}})
    assert refused.status_code == 404
    with world.database.begin() as connection:
        share_types.add_access(connection, secret["id"], "blue")
    assert member("POST", "/shares", {"share": {**wish, "share_type": "secret"}}).status_code == 200


def test_sizes_that_the_type_allows(
    world: ApiInProcess, member: Client, wish: dict[str, Any]
) -> None:
    with world.database.begin() as connection:
        specs = {
            "driver_handles_share_servers": "True",
            "provisioning:min_share_size": "2",
            "provisioning:max_share_size": "3",
        }
        share_types.create(connection, "narrow", specs)
    wish["share_type"] = "narrow"
    for size, code in ((1, 400), (2, 200), (3, 200), (4, 400)):
        result = member("POST", "/shares", {"share": {**wish, "size": size}})
        assert result.status_code == code, size
    # The field did not look at these extra specs before 2.61.
    assert member("POST", "/shares", {"share": wish}, version="2.60").status_code == 200


def test_over_quota_is_413_with_retry_after(
    world: ApiInProcess, member: Client, wish: dict[str, Any]
) -> None:
    with world.database.begin() as connection:
        limit = {"project_id": "blue", "user_id": "", "share_type_id": ""}
        connection.execute(quotas.insert().values(**limit, resource="gigabytes", hard_limit=5))
    result = member("POST", "/shares", {"share": {**wish, "size": 6}})
    assert result.status_code == 413
    assert "retry-after" in result.headers
    assert result.json["overLimit"]["code"] == 413
    assert "gigabytes" in result.json["overLimit"]["message"]
    assert nothing_made(world)
    assert member("POST", "/shares", {"share": {**wish, "size": 5}}).status_code == 200


def options(world: ApiInProcess, share_id: str) -> dict[str, str]:
    with world.database.read() as connection:
        row = shares.get(connection, share_id)
    assert row is not None
    return dict(row["options"])


def test_squash_and_file_system_from_type_and_metadata(
    world: ApiInProcess, member: Client, wish: dict[str, Any]
) -> None:
    first = member("POST", "/shares", {"share": wish}).json["share"]
    assert options(world, first["id"]) == {"squash": "root_squash", "file_system": "ext4"}
    with world.database.begin() as connection:
        specs = {"driver_handles_share_servers": "True", "atoll:file_system": "xfs"}
        share_types.create(connection, "fast", specs)
    wish |= {"share_type": "fast", "metadata": {"atoll:squash": "no_root_squash"}}
    second = member("POST", "/shares", {"share": wish}).json["share"]
    assert options(world, second["id"]) == {"squash": "no_root_squash", "file_system": "xfs"}


class TestFromSnapshot:
    @pytest.fixture
    def snapshot(self, database: Database, network: str) -> str:
        parent = add_share(
            database, "blue", size=3, share_network_id=network, options={"file_system": "xfs"}
        )
        return add_snapshot(database, "blue", parent, 3)

    def test_it_has_what_its_parent_has(
        self, world: ApiInProcess, member: Client, snapshot: str, network: str
    ) -> None:
        body: dict[str, Any]
        body = {"share": {"share_proto": "NFS", "size": 5, "snapshot_id": snapshot}}
        body["share"]["share_network_id"] = ""
        share = member("POST", "/shares", body).json["share"]
        assert share["status"] == "creating_from_snapshot"
        assert share["share_network_id"] == network
        assert share["snapshot_id"] == snapshot
        assert options(world, share["id"])["file_system"] == "xfs"
        old = member.get(f"/shares/{share['id']}", version="2.53")["share"]
        assert old["status"] == "creating"

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"size": 2}, "less than"),
            ({"share_proto": "CIFS"}, "protocol"),
            ({"share_type": "other"}, "type"),
            ({"share_network_id": UNKNOWN}, "network"),
            ({"metadata": {"atoll:file_system": "ext4"}}, "file system"),
        ],
    )
    def test_what_it_can_not_be(
        self, member: Client, snapshot: str, change: dict[str, Any], words: str
    ) -> None:
        body = {"share": {"share_proto": "NFS", "size": 3, "snapshot_id": snapshot, **change}}
        result = member("POST", "/shares", body)
        assert result.status_code == 400
        assert words in result.json["badRequest"]["message"]

    def test_another_projects_snapshot_does_not_exist(
        self, stranger: Client, snapshot: str
    ) -> None:
        body = {"share": {"share_proto": "NFS", "size": 3, "snapshot_id": snapshot}}
        assert stranger("POST", "/shares", body).status_code == 404

    def test_a_snapshot_that_is_not_ready(
        self, world: ApiInProcess, member: Client, snapshot: str
    ) -> None:
        from atoll.db.tables import snapshots

        with world.database.begin() as connection:
            rows.change(connection, snapshots, snapshot, status="creating")
        body = {"share": {"share_proto": "NFS", "size": 3, "snapshot_id": snapshot}}
        assert member("POST", "/shares", body).status_code == 400


def test_another_projects_network_does_not_exist(stranger: Client, wish: dict[str, Any]) -> None:
    assert stranger("POST", "/shares", {"share": wish}).status_code == 404


def test_readers_can_not_create(reader: Client, wish: dict[str, Any]) -> None:
    assert reader("POST", "/shares", {"share": wish}).status_code == 403


def test_zones_that_can_not_be_are_refused_at_once(
    world: ApiInProcess, member: Client, wish: dict[str, Any], database: Database
) -> None:
    specs = {"driver_handles_share_servers": "True", "availability_zones": "zz"}
    with database.begin() as connection:
        services.heartbeat(connection, "manila-share", "x@memory", 0.0, zone="zz")
        share_types.create(connection, "far", specs)
        default = share_types.find(connection, "default")["id"]
        near = share_networks.create(connection, "blue", "u")
        subnets.create(connection, near, availability_zone="nova")
    parent = add_share(
        database,
        "blue",
        share_type_id=default,
        availability_zone="nova",
        share_network_id=wish["share_network_id"],
    )
    snapshot = add_snapshot(database, "blue", parent, 1)
    for change, words in (
        ({"share_type": "far", "share_network_id": near}, "network subnets"),
        ({"availability_zone": "zz", "share_network_id": near}, "subnet was not found"),
        ({"share_type": "far", "availability_zone": "nova"}, "not supported within"),
        ({"snapshot_id": snapshot, "availability_zone": "zz"}, "same as parent share"),
    ):
        result = member("POST", "/shares", {"share": {**wish, **change}}, version="2.73")
        assert result.status_code == 400, change
        assert words in result.json["badRequest"]["message"]
    far = member("POST", "/shares", {"share": {**wish, "share_type": "far"}}, version="2.73")
    assert far.json["share"]["availability_zone"] is None  # until it is placed
