"""Snapshots and export locations."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.db import export_locations, share_types, snapshots
from atoll.db.database import Database
from atoll.db.tables import quotas
from atoll.db.tables import snapshots as table
from atoll.model.states import SnapshotStatus
from tests import rows
from tests.api.conftest import ApiInProcess, Client
from tests.api.scene import add_share, add_snapshot, queued

UNKNOWN = "11111111-2222-3333-4444-555555555555"
SORT_KEYS_OF_CLIENTS = (
    *("id", "status", "size", "share_id", "user_id", "project_id", "progress", "name"),
    "display_name",
)


@pytest.fixture
def share(database: Database) -> str:
    return add_share(database, "blue", size=2)


@pytest.fixture
def snapshot(database: Database, share: str) -> str:
    return add_snapshot(database, "blue", share, 2)


def test_create(world: ApiInProcess, member: Client, share: str) -> None:
    result = member("POST", "/snapshots", {"snapshot": {"share_id": share, "name": "s"}})
    assert result.status_code == 202
    snapshot = result.json["snapshot"]
    assert (snapshot["status"], snapshot["size"], snapshot["name"]) == ("creating", 2, "s")
    assert snapshot["share_id"] == share
    assert "provider_location" not in snapshot
    assert queued(world.database) == {f"snapshot/{snapshot['id']}"}
    assert member.get(f"/snapshots/{snapshot['id']}")["snapshot"] == snapshot
    assert [each["name"] for each in member.get("/snapshots")["snapshots"]] == ["s"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"share_id": UNKNOWN}, 404),
        ({"share_id": UNKNOWN, "force": "Yes"}, 404),
        ({"share_id": UNKNOWN, "force": "perhaps"}, 400),
        ({"share_id": ""}, 400),
        ({"share_id": 5}, 400),
        ({}, 400),
        ({"share_id": UNKNOWN, "name": "x" * 256}, 400),
    ],
)
def test_refusals(world: ApiInProcess, member: Client, body: dict[str, Any], code: int) -> None:
    assert member("POST", "/snapshots", {"snapshot": body}).status_code == code
    assert not queued(world.database)


def test_not_of_every_share(
    world: ApiInProcess, member: Client, stranger: Client, share: str
) -> None:
    body = {"snapshot": {"share_id": share}}
    assert stranger("POST", "/snapshots", body).status_code == 404
    busy = add_share(world.database, "blue", status="creating")
    assert member("POST", "/snapshots", {"snapshot": {"share_id": busy}}).status_code == 400
    with world.database.begin() as connection:
        plain = share_types.create(connection, "plain", {"driver_handles_share_servers": "True"})
    other = add_share(world.database, "blue", share_type_id=plain["id"])
    assert member("POST", "/snapshots", {"snapshot": {"share_id": other}}).status_code == 422
    with world.database.begin() as connection:
        limit = {"project_id": "blue", "user_id": "", "share_type_id": ""}
        connection.execute(quotas.insert().values(**limit, resource="snapshots", hard_limit=0))
    assert member("POST", "/snapshots", body).status_code == 413


def test_fields_filters_and_pages(
    database: Database, member: Client, admin: Client, stranger: Client, share: str
) -> None:
    for number in range(3):
        made = add_snapshot(database, "blue", share, 1)
        with database.begin() as connection:
            snapshots.change(connection, made, name=f"n{number}")
    first = member.get("/snapshots/detail?limit=2&sort_key=name&sort_dir=asc")
    assert [each["name"] for each in first["snapshots"]] == ["n0", "n1"]
    marker = first["snapshots"][-1]["id"]
    assert f"marker={marker}" in first["share_snapshots_links"][0]["href"]
    for key in (*SORT_KEYS_OF_CLIENTS, *snapshots.SORTABLE):
        assert len(member.get(f"/snapshots?sort_key={key}")["snapshots"]) == 3, key
    query = f"/snapshots/detail?limit=2&sort_key=name&sort_dir=asc&marker={marker}"
    assert [each["name"] for each in member.get(query)["snapshots"]] == ["n2"]
    assert len(member.get(f"/snapshots?share_id={share}&name~=n")["snapshots"]) == 3
    assert len(member.get("/snapshots?size=7")["snapshots"]) == 0
    assert member("GET", "/snapshots?size=big").status_code == 400
    assert len(admin.get("/snapshots?all_tenants=1")["snapshots"]) == 3
    assert stranger.get("/snapshots")["snapshots"] == []
    assert stranger("GET", f"/snapshots/{marker}").status_code == 404
    old = member.get(f"/snapshots/{marker}", version="2.16")["snapshot"]
    assert "user_id" not in old
    assert "provider_location" in admin.get(f"/snapshots/{marker}")["snapshot"]


def test_filters_of_manilas_administrators(
    database: Database, member: Client, admin: Client, snapshot: str
) -> None:
    other = add_snapshot(database, "red", add_share(database, "red"), 1)
    with database.begin() as connection:
        snapshots.change(connection, other, share_size=4, share_proto="CIFS")
    add_share(database, "blue", snapshot_id=snapshot)
    for query, expected in (
        ("user_id=blue-user", {snapshot}),
        ("user_id=nobody", set()),
        ("share_proto=CIFS", {other}),
        ("share_size=4", {other}),
        ("usage=used", {snapshot}),
        ("usage=unused", {other}),
        ("usage=used&share_proto=CIFS", set()),
    ):
        listed = admin.get(f"/snapshots?all_tenants=1&{query}")["snapshots"]
        assert {each["id"] for each in listed} == expected, query
        own = member.get(f"/snapshots?{query}")["snapshots"]
        assert {each["id"] for each in own} == expected - {other}, query
    for wrong in ("usage=perhaps", "usage=", "share_size=x"):
        assert admin("GET", f"/snapshots?{wrong}").status_code == 400, wrong


def test_update(member: Client, stranger: Client, snapshot: str) -> None:
    body = {"snapshot": {"display_name": "new"}}
    assert member("PUT", f"/snapshots/{snapshot}", body).json["snapshot"]["name"] == "new"
    assert stranger("PUT", f"/snapshots/{snapshot}", body).status_code == 404


def test_metadata_since_2_73(member: Client, share: str, snapshot: str) -> None:
    body = {"snapshot": {"share_id": share, "metadata": {"a": "b"}}}
    made = member("POST", "/snapshots", body, version="2.73").json["snapshot"]
    assert made["metadata"] == {"a": "b"}
    query = "/snapshots?metadata=%7B'a':'b'%7D"
    assert [each["id"] for each in member.get(query, version="2.73")["snapshots"]] == [made["id"]]
    assert len(member.get(query, version="2.72")["snapshots"]) == 2
    path = f"/snapshots/{snapshot}/metadata"
    assert member("POST", path, {"metadata": {"c": "d"}}, version="2.72").status_code == 404
    assert member("POST", path, {"metadata": {"c": "d"}}, version="2.73").status_code == 200
    assert member.get(path, version="2.73") == {"metadata": {"c": "d"}}
    assert "metadata" not in member.get(f"/snapshots/{snapshot}", version="2.72")["snapshot"]


def test_delete(world: ApiInProcess, member: Client, snapshot: str) -> None:
    assert member("DELETE", f"/snapshots/{snapshot}").status_code == 202
    assert member.get(f"/snapshots/{snapshot}")["snapshot"]["status"] == "deleting"
    assert queued(world.database) == {f"snapshot/{snapshot}"}
    assert member("DELETE", f"/snapshots/{snapshot}").status_code == 400
    assert member("DELETE", f"/snapshots/{UNKNOWN}").status_code == 404


def test_not_while_a_share_is_made_from_it(
    database: Database, member: Client, snapshot: str
) -> None:
    copy = add_share(database, "blue", status="creating_from_snapshot", snapshot_id=snapshot)
    result = member("DELETE", f"/snapshots/{snapshot}")
    assert result.status_code == 409
    assert copy in result.json["conflictingRequest"]["message"]


def test_actions(world: ApiInProcess, member: Client, admin: Client, snapshot: str) -> None:
    path = f"/snapshots/{snapshot}/action"
    assert member("POST", path, {"reset_status": {"status": "error"}}).status_code == 403
    assert admin("POST", path, {"reset_status": {"status": "error"}}).status_code == 202
    assert admin("POST", path, {"reset_status": {"status": "happy"}}).status_code == 400
    with world.database.begin() as connection:
        rows.change(connection, table, snapshot, status="creating")
    assert admin("POST", path, {"os-force_delete": None}, version="2.6").status_code == 202
    assert queued(world.database) == {f"snapshot/{snapshot}"}


class TestExportLocations:
    @pytest.fixture
    def ids(self, database: Database, share: str) -> list[str]:
        locations = [
            {"path": "10.0.0.9:/a", "is_admin_only": False, "metadata": {"preferred": True}},
            {"path": "10.0.0.8:/a", "is_admin_only": False, "metadata": {}},
            {"path": "10.254.0.8:/a", "is_admin_only": True, "metadata": {}},
        ]
        with database.begin() as connection:
            export_locations.replace(connection, share, locations)
            found = export_locations.of_share(connection, share, with_admin_only=True)
        return [row["id"] for row in found]

    def test_list_and_show(self, member: Client, admin: Client, share: str, ids: list[str]) -> None:
        path = f"/shares/{share}/export_locations"
        found = member.get(path)["export_locations"]
        assert found == [
            {"id": ids[0], "path": "10.0.0.9:/a", "preferred": True},
            {"id": ids[1], "path": "10.0.0.8:/a", "preferred": False},
        ]
        assert "preferred" not in member.get(path, version="2.13")["export_locations"][0]
        assert member("GET", path, version="2.8").status_code == 404
        everything = admin.get(path)["export_locations"]
        assert [each["is_admin_only"] for each in everything] == [False, False, True]
        one = member.get(f"{path}/{ids[0]}")["export_location"]
        assert one["path"] == "10.0.0.9:/a"
        assert one["created_at"]
        assert member("GET", f"{path}/{ids[2]}").status_code == 404

    def test_paths_that_stay_keep_their_ids(
        self, database: Database, member: Client, share: str, ids: list[str]
    ) -> None:
        with database.begin() as connection:
            stays = {"path": "10.0.0.8:/a", "is_admin_only": False, "metadata": {"preferred": True}}
            export_locations.replace(connection, share, [stays])
        found = member.get(f"/shares/{share}/export_locations")["export_locations"]
        assert found == [{"id": ids[1], "path": "10.0.0.8:/a", "preferred": True}]


def test_a_status_can_be_set_to_all_that_manila_knows(
    world: ApiInProcess, member: Client, admin: Client, snapshot: str
) -> None:
    for status in SnapshotStatus.settable():
        body = {"reset_status": {"status": status}}
        assert admin("POST", f"/snapshots/{snapshot}/action", body).status_code == 202, status
        assert member.get(f"/snapshots/{snapshot}")["snapshot"]["status"] == status
        listed = member.get(f"/snapshots?status={status}")["snapshots"]
        assert [one["id"] for one in listed] == [snapshot]
    assert not queued(world.database)
