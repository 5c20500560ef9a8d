"""Quotas through HTTP: what holds, what is in use, who may change it."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.db import share_types
from atoll.db.tables import shares
from tests import rows
from tests.api import scene
from tests.api.conftest import ApiInProcess, Client

PATH = "/quota-sets/blue"
DEFAULTS = {
    "shares": 50,
    "gigabytes": 1000,
    "snapshots": 50,
    "snapshot_gigabytes": 1000,
    "share_networks": 10,
}


def put(admin: Client, values: dict[str, Any], query: str = "", version: str = "2.65") -> Any:
    return admin("PUT", f"{PATH}{query}", {"quota_set": values}, version=version)


@pytest.mark.parametrize(
    ("version", "path", "more"),
    [
        ("2.6", "/os-quota-sets/blue", {}),
        ("2.7", PATH, {}),
        ("2.40", PATH, {"share_groups": 0, "share_group_snapshots": 0}),
        (
            "2.62",
            PATH,
            {
                "share_groups": 0,
                "share_group_snapshots": 0,
                "share_replicas": 0,
                "replica_gigabytes": 0,
                "per_share_gigabytes": -1,
            },
        ),
    ],
)
def test_defaults_by_version(member: Client, version: str, path: str, more: dict[str, int]) -> None:
    expected = {"quota_set": {"id": "blue", **DEFAULTS, **more}}
    assert member.get(path, version=version) == expected
    assert member.get(f"{path}/defaults", version=version) == expected


def test_usage_is_what_the_rows_say(world: ApiInProcess, member: Client) -> None:
    share = scene.add_share(world.database, "blue", size=3, wanted_size=5, status="extending")
    scene.add_share(world.database, "blue", size=2, status="error", user_id="other")
    scene.add_share(world.database, "red", size=100)
    scene.add_snapshot(world.database, "blue", share, size=3)
    detail = member.get(f"{PATH}/detail")["quota_set"]
    used = {name: value["in_use"] for name, value in detail.items() if name in DEFAULTS}
    assert used == {
        "shares": 2,
        "gigabytes": 7,
        "snapshots": 1,
        "snapshot_gigabytes": 3,
        "share_networks": 0,
    }
    assert detail["shares"] == {"limit": 50, "in_use": 2, "reserved": 0}
    by_user = member.get(f"{PATH}/detail?user_id=other")["quota_set"]
    assert by_user["gigabytes"]["in_use"] == 2
    by_type = member.get(f"{PATH}/detail?share_type=default")["quota_set"]
    assert by_type["snapshots"]["in_use"] == 1
    assert "share_networks" not in by_type
    absolute = member.get("/limits")["limits"]["absolute"]
    assert (absolute["totalSharesUsed"], absolute["totalShareGigabytesUsed"]) == (2, 7)
    assert (absolute["maxTotalShares"], absolute["totalShareSnapshotsUsed"]) == (50, 1)


def test_set_and_reset(admin: Client, member: Client) -> None:
    result = put(admin, {"shares": 7, "gigabytes": "-1", "force": "true"})
    assert result.status_code == 200, result.text
    assert result.json["quota_set"]["shares"] == 7
    assert member.get(PATH)["quota_set"]["gigabytes"] == -1
    assert put(admin, {"shares": 5}, "?user_id=ann").status_code == 200
    assert put(admin, {"shares": 4}, "?share_type=default").status_code == 200
    assert member.get(f"{PATH}?user_id=ann")["quota_set"]["shares"] == 5
    assert member.get(f"{PATH}?share_type=default")["quota_set"]["shares"] == 4
    skipped = put(admin, {"shares": "", "gigabytes": 9, "share_groups": ""})
    assert (skipped.json["quota_set"]["shares"], skipped.json["quota_set"]["gigabytes"]) == (7, 9)
    assert put(admin, {"shares": ""}).json["quota_set"]["shares"] == 7
    assert admin("DELETE", f"{PATH}?user_id=ann").status_code == 202
    assert member.get(f"{PATH}?user_id=ann")["quota_set"]["shares"] == 7
    assert admin("DELETE", PATH).status_code == 202
    assert member.get(f"{PATH}?share_type=default")["quota_set"]["shares"] == 50


def test_a_user_may_have_no_limit_where_the_project_has_none(admin: Client) -> None:
    assert put(admin, {"shares": -1}).status_code == 200
    assert put(admin, {"shares": 7}, "?user_id=ann").status_code == 200
    assert put(admin, {"shares": -1}, "?user_id=ann").status_code == 200
    assert put(admin, {"shares": -1}, "?share_type=default").status_code == 200


def test_only_administrators_change_and_see_others(member: Client, stranger: Client) -> None:
    assert put(member, {"shares": 7}).status_code == 403
    assert member("DELETE", PATH).status_code == 403
    assert stranger("GET", PATH).status_code == 403
    assert stranger("GET", f"{PATH}/detail").status_code == 403


@pytest.mark.parametrize(
    ("values", "query", "version"),
    [
        ({"shares": -2}, "", "2.65"),
        ({"shares": "many"}, "", "2.65"),
        ({"shares": 2**31}, "", "2.65"),
        ({"shares": 1.5}, "", "2.65"),
        ({"shares": True}, "", "2.65"),
        ({"cores": 5}, "", "2.65"),
        ({"cores": "", "shares": 5}, "", "2.65"),
        ({"share_groups": 5}, "", "2.65"),
        ({"per_share_gigabytes": 5}, "", "2.61"),
        ({"shares": 5}, "?share_type=default", "2.38"),
        ({"shares": 5}, "?share_type=default&user_id=ann", "2.65"),
        ({"share_networks": 5}, "?share_type=default", "2.65"),
        ({"shares": 51}, "?user_id=ann", "2.65"),
        ({"shares": -1}, "?user_id=ann", "2.65"),
        ({"shares": "-1"}, "?share_type=default", "2.65"),
        ({"shares": 5}, f"?user_id={'u' * 65}", "2.65"),
    ],
)
def test_bad_limits_change_nothing(
    admin: Client, values: dict[str, Any], query: str, version: str
) -> None:
    result = put(admin, values, query, version)
    assert result.status_code == 400, result.text
    assert result.json["badRequest"]["message"]
    assert admin.get(PATH)["quota_set"]["shares"] == 50


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_no_project_has_an_id_that_no_column_holds(admin: Client, method: str) -> None:
    body = {"quota_set": {"shares": 5}} if method == "PUT" else None
    for length, codes in ((64, (200, 202)), (65, (400,))):
        answer = admin(method, f"/quota-sets/{'é' * length}", body)
        assert answer.status_code in codes, answer.text


def test_unknown_share_type_is_404(admin: Client) -> None:
    assert put(admin, {"shares": 5}, "?share_type=none").status_code == 404


def test_below_usage_needs_force(world: ApiInProcess, admin: Client) -> None:
    for _ in range(2):
        scene.add_share(world.database, "blue")
    refused = put(admin, {"shares": 1})
    assert refused.status_code == 400
    assert "2 in use" in refused.json["badRequest"]["message"]
    no: tuple[Any, ...] = (False, "perhaps", "n", None, [True])
    for word in no:
        assert put(admin, {"shares": 1, "force": word}).status_code == 400, word
    yes: tuple[Any, ...] = (True, " Yes", "T", "1", 1)
    for number, word in enumerate(yes):
        limit = 1 - number % 2  # less than what is in use, and not what holds at present
        assert put(admin, {"shares": limit, "force": word}).status_code == 200, word


def test_the_default_class(admin: Client, member: Client) -> None:
    path = "/quota-class-sets/default"
    assert member.get(path)["quota_class_set"]["id"] == "default"
    body = {"quota_class_set": {"shares": 3}}
    assert member("PUT", path, body).status_code == 403
    assert admin("PUT", path, body).json["quota_class_set"]["shares"] == 3
    assert member.get(PATH)["quota_set"]["shares"] == 3
    assert member.get("/os-quota-class-sets/default", version="2.6")["quota_class_set"]
    more = {"quota_class_set": {"shares": 4, "gigabytes": "", "cores": 5}}
    assert admin("PUT", path, more).json["quota_class_set"]["shares"] == 4
    assert member.get(PATH)["quota_set"]["gigabytes"] == 1000
    bad = {"quota_class_set": {"shares": "x", "cores": 5}}
    assert admin("PUT", path, bad).status_code == 400


def test_a_type_in_use_stays_and_a_deleted_one_takes_its_quotas(
    world: ApiInProcess, admin: Client
) -> None:
    with world.database.begin() as connection:
        gold = share_types.create(connection, "gold", {"driver_handles_share_servers": "True"})
    share = scene.add_share(world.database, "blue", share_type_id=gold["id"])
    refused = admin("DELETE", f"/types/{gold['id']}")
    assert refused.status_code == 400
    assert "in use" in refused.json["badRequest"]["message"]
    assert put(admin, {"shares": 5}, "?share_type=gold").status_code == 200
    with world.database.begin() as connection:
        rows.remove(connection, shares, share)
    assert admin("DELETE", f"/types/{gold['id']}").status_code == 202
