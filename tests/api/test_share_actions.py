"""Actions on shares: extend, reset, old names, and what is not supported."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from atoll.db import share_types, shares
from atoll.db.database import Database
from atoll.db.tables import quotas
from atoll.model.states import ShareStatus
from tests.api.conftest import ApiInProcess, Client
from tests.api.scene import add_share, add_snapshot, queued


@pytest.fixture
def share(database: Database) -> str:
    return add_share(database, "blue", size=2)


def act(who: Client, share_id: str, body: Any, version: str = "2.65") -> int:
    return who("POST", f"/shares/{share_id}/action", body, version=version).status_code


def test_extend(world: ApiInProcess, member: Client, share: str) -> None:
    assert act(member, share, {"extend": {"new_size": 3}}) == 202
    with world.database.read() as connection:
        row = shares.get(connection, share)
    assert row is not None
    assert (row["status"], row["size"], row["wanted_size"]) == ("extending", 2, 3)
    assert queued(world.database) == {f"share/{share}"}
    assert act(member, share, {"extend": {"new_size": 4}}) == 400


@pytest.mark.parametrize("size", [2, 1, 0, -1, "x", None, 1.5, 2**31, [3]])
def test_extend_to_what(world: ApiInProcess, member: Client, share: str, size: Any) -> None:
    assert act(member, share, {"extend": {"new_size": size}}) == 400
    assert not queued(world.database)


def test_extend_over_quota_is_403(world: ApiInProcess, member: Client, share: str) -> None:
    with world.database.begin() as connection:
        limit = {"project_id": "blue", "user_id": "", "share_type_id": ""}
        connection.execute(quotas.insert().values(**limit, resource="gigabytes", hard_limit=4))
    assert act(member, share, {"extend": {"new_size": 5}}) == 403
    assert act(member, share, {"extend": {"new_size": 4}}) == 202


def test_extend_beyond_what_the_type_allows(
    world: ApiInProcess, member: Client, admin: Client, share: str
) -> None:
    with world.database.begin() as connection:
        found = share_types.find(connection, "default")
        share_types.change(
            connection,
            found["id"],
            extra_specs={
                **found["extra_specs"],
                "provisioning:max_share_size": "4",
                "provisioning:max_share_extend_size": "6",
            },
        )
    assert act(member, share, {"extend": {"new_size": 5}}) == 400
    assert act(admin, share, {"extend": {"new_size": 7}}) == 400
    assert act(admin, share, {"extend": {"new_size": 6}}) == 202


def test_force_is_for_administrators(member: Client, admin: Client, share: str) -> None:
    forced = {"extend": {"new_size": 3, "force": True}}
    assert act(member, share, forced) == 403
    assert act(member, share, {"extend": {"new_size": 3, "force": "on"}}) == 403
    assert act(admin, share, forced) == 202


def test_old_names_end_with_2_6(member: Client, share: str) -> None:
    assert act(member, share, {"os-extend": {"new_size": 3}}, "2.7") == 404
    assert act(member, share, {"extend": {"new_size": 3}}, "2.6") == 404
    assert act(member, share, {"os-extend": {"new_size": 3}}, "2.6") == 202


@pytest.mark.parametrize(
    "body",
    [
        {"shrink": {"new_size": 1}},
        {"shrink": {"new_size": 2}},
        {"revert": {"snapshot_id": "x"}},
        {"explode": {}},
        {"extend": None},
        {"extend": 5},
        {"extend": {}, "shrink": {}},
        {},
        [],
        "extend",
        5,
        None,
    ],
)
def test_what_is_refused(world: ApiInProcess, member: Client, share: str, body: Any) -> None:
    raw = msgspec.json.encode(body).decode()
    result = member("POST", f"/shares/{share}/action", raw=raw)
    assert result.status_code in (400, 422)
    (fault,) = result.json.values()
    assert fault["message"]
    assert not queued(world.database)


def test_reset_status(world: ApiInProcess, member: Client, admin: Client, share: str) -> None:
    reset = {"reset_status": {"status": "error"}}
    assert act(member, share, reset) == 403
    assert act(admin, share, reset) == 202
    assert member.get(f"/shares/{share}")["share"]["status"] == "error"
    assert act(admin, share, {"reset_status": {"status": "happy"}}) == 400
    assert act(admin, share, {"reset_status": {}}) == 400
    assert act(admin, share, {"os-reset_status": {"status": "available"}}, "2.6") == 202


def test_there_is_no_recycle_bin(member: Client, share: str) -> None:
    assert act(member, share, {"soft_delete": None}, "2.68") == 404
    assert act(member, share, {"soft_delete": None}, "2.69") == 403
    assert act(member, share, {"restore": None}, "2.69") == 200
    assert member.get("/shares?is_soft_deleted=true", version="2.69")["shares"] == []
    assert member.get(f"/shares/{share}", version="2.69")["share"]["is_soft_deleted"] is False


def test_there_is_no_task_state_to_reset(member: Client, share: str) -> None:
    assert act(member, share, {"reset_task_state": {"task_state": None}}) == 202
    assert act(member, share, {"reset_task_state": {"task_state": "migration_error"}}) == 400


def test_strangers_meet_nothing(stranger: Client, share: str) -> None:
    for body in ({"extend": {"new_size": 3}}, {"shrink": {"new_size": 1}}):
        assert act(stranger, share, body) == 404


def test_a_status_can_be_set_to_all_that_manila_knows(
    world: ApiInProcess, member: Client, admin: Client, share: str
) -> None:
    assert {"creating", "deleting", "shrinking_error", "migrating"} < set(ShareStatus.settable())
    for status in ShareStatus.settable():
        assert act(admin, share, {"reset_status": {"status": status}}) == 202, status
        old = "creating" if status == "creating_from_snapshot" else status
        assert member.get(f"/shares/{share}", version="2.53")["share"]["status"] == old
        assert member.get(f"/shares/{share}")["share"]["status"] == status
        listed = member.get(f"/shares/detail?status={status}")["shares"]
        assert [(one["id"], one["status"]) for one in listed] == [(share, status)]
        if status not in ("available", "creating", "creating_from_snapshot", "extending"):
            assert member.get("/shares?status=available") == {"shares": []}
    assert act(admin, share, {"reset_status": {"status": "deleting"}}) == 202
    refused = member("DELETE", f"/shares/{share}")
    assert refused.json["forbidden"]["message"].endswith("and is deleting.")
    assert act(admin, share, {"force_delete": None}) == 202
    with world.database.read() as connection:
        row = shares.get(connection, share)
    assert row is not None
    assert row["status"] == "deleting"


def test_force_delete_of_a_share_with_snapshots_is_400(
    world: ApiInProcess, admin: Client, share: str
) -> None:
    add_snapshot(world.database, "blue", share, 2)
    result = admin("POST", f"/shares/{share}/action", {"force_delete": None})
    assert result.status_code == 400
    assert "1 dependent snapshots" in result.json["badRequest"]["message"]
    assert admin("DELETE", f"/shares/{share}").status_code == 403
