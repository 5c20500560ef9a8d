"""Clients that put back what they have read, change a part of it, or change nothing."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.api.frame import versions
from tests.api import scene
from tests.api.conftest import ApiInProcess, Client

QUOTAS = "/quota-sets/blue"


@pytest.mark.parametrize("version", [f"2.{number}" for number in range(7, versions.HIGHEST + 1, 6)])
@pytest.mark.parametrize("query", ["", "?user_id=ann", "?share_type=default"])
def test_a_quota_set_can_be_put_back_as_it_was_read(
    world: ApiInProcess, admin: Client, version: str, query: str
) -> None:
    if "share_type" in query and int(version[2:]) < 39:
        pytest.skip("There are no quotas of share types yet.")
    scene.add_share(world.database, "blue", user_id="ann")
    for change in ({}, {"shares": 7}):
        read = admin.get(QUOTAS + query, version=version)["quota_set"] | change
        put = admin("PUT", QUOTAS + query, {"quota_set": read}, version=version)
        assert put.status_code == 200, put.text
        read.pop("id", None)
        assert put.json["quota_set"] == read
        again = admin.get(QUOTAS + query, version=version)["quota_set"]
        assert {name: again[name] for name in read} == read


def test_a_limit_below_use_can_be_put_back(world: ApiInProcess, admin: Client) -> None:
    for _ in range(3):
        scene.add_share(world.database, "blue")
    forced = {"quota_set": {"shares": 1, "force": True}}
    assert admin("PUT", QUOTAS, forced).status_code == 200
    read = admin.get(QUOTAS)
    assert admin("PUT", QUOTAS, read).status_code == 200
    assert admin("PUT", QUOTAS, {"quota_set": {"shares": 2}}).status_code == 400


@pytest.mark.parametrize("version", ["2.6", "2.7", "2.40", "2.53", "2.73"])
def test_a_quota_class_can_be_put_back_as_it_was_read(admin: Client, version: str) -> None:
    path = f"/{'os-' if version == '2.6' else ''}quota-class-sets/default"
    read = admin.get(path, version=version)
    put = admin("PUT", path, read, version=version)
    assert put.status_code == 200, put.text
    assert admin.get(path, version=version) == read


@pytest.mark.parametrize("name", ["share_groups", "share_group_snapshots", "share_replicas"])
def test_there_is_nothing_to_limit_of_what_atoll_lacks(admin: Client, name: str) -> None:
    assert admin("PUT", QUOTAS, {"quota_set": {name: 0}}).status_code == 200
    refused = admin("PUT", QUOTAS, {"quota_set": {name: 5}})
    assert refused.status_code == 400
    assert "0" in refused.json["badRequest"]["message"]


@pytest.mark.parametrize(
    "values",
    [{}, {"force": True}, {"force": False, "tenant_id": "blue"}, {"shares": None}, {"force": ""}],
)
def test_quotas_without_a_limit_are_400(admin: Client, values: dict[str, Any]) -> None:
    for path, version in ((QUOTAS, "2.65"), ("/os-quota-sets/blue", "2.6")):
        for query in ("", "?user_id=ann"):
            result = admin("PUT", path + query, {"quota_set": values}, version=version)
            assert result.status_code == 400, result.text
            assert "at least one" in result.json["badRequest"]["message"]


@pytest.mark.parametrize("version", ["2.6", "2.36", "2.50", "2.51", "2.63", "2.73"])
def test_networks_shares_and_snapshots_can_be_put_back(
    world: ApiInProcess, member: Client, version: str
) -> None:
    wish = {"share_network": {"name": "n", "neutron_net_id": "n", "neutron_subnet_id": "s"}}
    network = member("POST", "/share-networks", wish).json["share_network"]["id"]
    share = scene.add_share(world.database, "blue", name="a", metadata={"k": "v"})
    snapshot = scene.add_snapshot(world.database, "blue", share, 1)
    managed = member("POST", "/share-networks", {"share_network": {}}).json["share_network"]["id"]
    for path in (
        f"/share-networks/{network}",
        f"/share-networks/{managed}",
        f"/shares/{share}",
        f"/snapshots/{snapshot}",
    ):
        read = member.get(path, version=version)
        nothing: dict[str, Any] = {next(iter(read)): {}}
        for body in (read, nothing):
            put = member("PUT", path, body, version=version)
            assert put.status_code == 200, (path, put.text)
        now = next(iter(member.get(path, version=version).values()))
        before = next(iter(read.values()))
        assert {**now, "updated_at": None} == {**before, "updated_at": None}


def test_types_and_services_can_be_put_back(admin: Client) -> None:
    read = admin.get("/types/default")["share_type"]
    put = admin("PUT", f"/types/{read['id']}", {"share_type": read})
    assert put.status_code == 200, put.text
    assert admin.get("/types/default")["share_type"] == read
    assert admin("PUT", f"/types/{read['id']}", {"share_type": {}}).status_code == 400
    (service,) = admin.get("/services")["services"]
    assert admin("PUT", "/services/enable", service).status_code == 200


def test_a_reason_to_disable_a_service_is_not_known_yet(admin: Client) -> None:
    which = {"host": "here@memory", "binary": "atoll-worker"}
    for path, version in (("/services", "2.73"), ("/services", "2.7"), ("/os-services", "2.6")):
        body = {**which, "disabled_reason": "a new disk"}
        refused = admin("PUT", f"{path}/disable", body, version=version)
        assert refused.status_code == 400, refused.text
        assert "2.83" in refused.json["badRequest"]["message"]
        assert admin.get(path, version=version)["services"][0]["status"] == "enabled"
        body["disabled_reason"] = ""
        assert admin("PUT", f"{path}/disable", body, version=version).status_code == 200
        assert admin("PUT", f"{path}/enable", which, version=version).status_code == 200
