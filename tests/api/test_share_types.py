"""Share types through HTTP: what administrators set up and what projects see of it."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.api.types import extra_specs
from atoll.db import share_types
from tests.api.conftest import HEADER, ApiInProcess, Client

SPECS = {"driver_handles_share_servers": True, "secret:tier": "gold"}


def make(admin: Client, name: str, **more: Any) -> dict[str, Any]:
    body = {"share_type": {"name": name, "extra_specs": SPECS, **more}}
    result = admin("POST", "/types", body)
    assert result.status_code == 200, result.text
    share_type: dict[str, Any] = result.json["share_type"]
    return share_type


def test_create_show_update_delete(admin: Client) -> None:
    made = make(admin, "gold", description="fast")
    assert made["extra_specs"] == {"driver_handles_share_servers": "True", "secret:tier": "gold"}
    assert made["required_extra_specs"] == {"driver_handles_share_servers": "True"}
    assert made["share_type_access:is_public"] is True
    assert made["is_default"] is False
    path = f"/types/{made['id']}"
    body = {"share_type": {"name": "platinum", "description": None}}
    updated = admin("PUT", path, body)
    assert updated.status_code == 200, updated.text
    assert updated.json["share_type"]["description"] == "fast"
    assert admin("PUT", path, {"share_type": {"description": ""}}).status_code == 200
    shown = admin.get(path)
    assert shown["share_type"] == shown["volume_type"]
    assert (shown["share_type"]["name"], shown["share_type"]["description"]) == ("platinum", None)
    assert admin("DELETE", path).status_code == 202
    assert admin("GET", path).status_code == 404


@pytest.mark.parametrize(
    ("version", "there", "absent"),
    [
        ("2.0", "os-share-type-access:is_public", "share_type_access:is_public"),
        ("2.7", "share_type_access:is_public", "os-share-type-access:is_public"),
        ("2.40", "extra_specs", "description"),
        ("2.41", "description", "is_default"),
        ("2.46", "is_default", "os-share-type-access:is_public"),
    ],
)
def test_fields_by_version(member: Client, version: str, there: str, absent: str) -> None:
    shown = member.get("/types/default", version=version)["share_type"]
    assert there in shown
    assert absent not in shown


def test_the_default_type_is_the_configured_one(member: Client) -> None:
    shown = member.get("/types/default")["share_type"]
    assert (shown["name"], shown["is_default"]) == ("default", True)


def test_a_project_sees_only_public_types_and_tenant_visible_specs(
    admin: Client, member: Client
) -> None:
    private = make(admin, "private", **{"share_type_access:is_public": False})
    public = make(admin, "public")
    listed = member.get("/types?is_public=all")["share_types"]
    assert {one["name"] for one in listed} == {"default", "public"}
    assert member("GET", f"/types/{private['id']}").status_code == 404
    shown = member.get(f"/types/{public['id']}")["share_type"]
    left_out = dict.fromkeys(extra_specs.OPTIONAL, False)
    assert shown["extra_specs"] == {"driver_handles_share_servers": "True", **left_out}
    old = member.get(f"/types/{public['id']}", version="2.23")["share_type"]
    assert old["extra_specs"] == {"driver_handles_share_servers": "True"}
    specs = member.get(f"/types/{public['id']}/extra_specs")["extra_specs"]
    assert specs == {"driver_handles_share_servers": "True"}
    assert member("GET", f"/types/{public['id']}/extra_specs/secret:tier").status_code == 404
    assert member("POST", "/types", {"share_type": {"name": "x"}}).status_code == 403


@pytest.mark.parametrize(
    ("is_public", "names"),
    [
        ("", {"default"}),
        ("?is_public=true", {"default"}),
        ("?is_public=False", {"private"}),
        ("?is_public=all", {"default", "private"}),
    ],
)
def test_administrators_filter_by_is_public(admin: Client, is_public: str, names: set[str]) -> None:
    make(admin, "private", **{"share_type_access:is_public": False})
    assert {one["name"] for one in admin.get(f"/types{is_public}")["share_types"]} == names
    assert admin("GET", "/types?is_public=perhaps").status_code == 400


def test_filter_by_extra_specs(admin: Client) -> None:
    make(admin, "gold")
    query = {"extra_specs": "{'secret:tier': 'gold', 'driver_handles_share_servers': 'true'}"}
    found = admin.get("/types", version="2.43", params=query)["share_types"]
    assert [one["name"] for one in found] == ["gold"]
    assert admin("GET", "/types", version="2.42", params=query).status_code == 400
    assert admin("GET", "/types", params={"extra_specs": "__import__('os')"}).status_code == 400


WANTED: tuple[tuple[dict[str, Any], set[str]], ...] = (
    ({"snapshot_support": "False"}, {"bare", "zoned"}),
    ({"snapshot_support": "<is> False", "mount_snapshot_support": "no"}, {"bare", "zoned"}),
    ({"snapshot_support": False}, {"bare", "zoned"}),
    ({"snapshot_support": "<is>True"}, {"default"}),
    ({"revert_to_snapshot_support": "True"}, set()),
    ({"availability_zones": "a"}, {"default", "bare", "zoned"}),
    ({"availability_zones": "a,b"}, {"default", "bare", "zoned"}),
    ({"availability_zones": "a,c"}, {"default", "bare"}),
    ({"unknown": "False"}, set()),
)


def test_what_a_type_leaves_out_is_false_and_is_found_so(admin: Client, member: Client) -> None:
    make(admin, "bare")
    make(admin, "zoned", extra_specs={**SPECS, "availability_zones": "a,b"})
    for wanted, names in WANTED:
        for caller in (admin, member):
            found = caller.get("/types", params={"extra_specs": repr(wanted)})["share_types"]
            assert {one["name"] for one in found} == names, wanted


def test_access_to_a_private_type(admin: Client, member: Client, stranger: Client) -> None:
    private = make(admin, "private", **{"share_type_access:is_public": False})
    path = f"/types/{private['id']}"
    grant = {"addProjectAccess": {"project": "blue"}}
    assert admin("POST", f"{path}/action", grant).status_code == 202
    assert admin("POST", f"{path}/action", grant).status_code == 409
    assert member.get(path)["share_type"]["name"] == "private"
    assert "private" in {one["name"] for one in member.get("/types")["share_types"]}
    assert stranger("GET", path).status_code == 404
    access = [{"share_type_id": private["id"], "project_id": "blue"}]
    assert admin.get(f"{path}/share_type_access") == {"share_type_access": access}
    old = admin.get(f"{path}/os-share-type-access", version="2.6")
    assert old == {"share_type_access": access}
    revoke = {"removeProjectAccess": {"project": "blue"}}
    assert admin("POST", f"{path}/action", revoke, version="2.0").status_code == 202
    assert admin("POST", f"{path}/action", revoke).status_code == 404
    assert member("GET", path).status_code == 404
    for unknown in ("nobody", "x" * 65, "x" * 64 + "\n"):
        grant = {"addProjectAccess": {"project": unknown}}
        assert admin("POST", f"{path}/action", grant).status_code == 400


def test_public_types_have_no_access_list(admin: Client) -> None:
    path = f"/types/{make(admin, 'public')['id']}"
    assert admin("GET", f"{path}/share_type_access").status_code == 404
    grant = {"addProjectAccess": {"project": "blue"}}
    assert admin("POST", f"{path}/action", grant).status_code == 409


def test_extra_specs_are_set_replaced_and_removed(admin: Client) -> None:
    path = f"/types/{make(admin, 'gold')['id']}/extra_specs"
    result = admin("POST", path, {"extra_specs": {"snapshot_support": "<is> True", "a": "1"}})
    assert result.status_code == 200, result.text
    assert admin("PUT", f"{path}/a", {"a": "2"}).json == {"a": "2"}
    assert admin.get(f"{path}/a") == {"a": "2"}
    assert admin("DELETE", f"{path}/a").status_code == 202
    assert admin("DELETE", f"{path}/a").status_code == 404
    assert set(admin.get(path)["extra_specs"]) == {
        "driver_handles_share_servers",
        "secret:tier",
        "snapshot_support",
    }


def test_required_extra_specs_stay(admin: Client) -> None:
    path = f"/types/{make(admin, 'gold')['id']}/extra_specs"
    assert admin("DELETE", f"{path}/driver_handles_share_servers").status_code == 403
    assert admin("DELETE", f"{path}/snapshot_support", version="2.23").status_code == 403


def test_snapshot_support_was_implied_before_2_24(admin: Client) -> None:
    body = {"share_type": {"name": "old", "extra_specs": {"driver_handles_share_servers": "1"}}}
    made = admin("POST", "/types", body, version="2.23").json["share_type"]
    assert made["extra_specs"]["snapshot_support"] == "True"
    body["share_type"]["name"] = "new"
    made = admin("POST", "/types", body, version="2.24").json["share_type"]
    assert "snapshot_support" not in made["extra_specs"]


@pytest.mark.parametrize(
    ("share_type", "word"),
    [
        ({"name": "x", "extra_specs": {}}, "driver_handles_share_servers"),
        ({"name": "x", "extra_specs": {"driver_handles_share_servers": "maybe"}}, "maybe"),
        ({"name": "x", "extra_specs": SPECS | {"snapshot_support": "perhaps"}}, "snapshot"),
        ({"name": "x", "extra_specs": SPECS | {"bad key": "v"}}, "bad key"),
        ({"name": "x", "extra_specs": SPECS | {"k": ""}}, "k"),
        ({"name": "x", "extra_specs": SPECS | {"k": "v" * 256}}, "k"),
        ({"name": "x", "extra_specs": SPECS | {"k": {"deep": 1}}}, "k"),
        ({"name": "x", "extra_specs": SPECS | {"provisioning:max_share_size": "-1"}}, "GiB"),
        ({"name": "x", "extra_specs": SPECS | {"replication_type": "dr"}}, "replicate"),
        ({"name": "x", "extra_specs": []}, "extra_specs"),
        ({"name": "", "extra_specs": SPECS}, "name"),
        ({"name": " ", "extra_specs": SPECS}, "name"),
        ({"name": "x" * 256, "extra_specs": SPECS}, "name"),
        ({"name": 7, "extra_specs": SPECS}, "name"),
        ({"extra_specs": SPECS}, "name"),
        ({"name": "x", "description": "x" * 256, "extra_specs": SPECS}, "description"),
        ({"name": "x", "share_type_access:is_public": "no way", "extra_specs": SPECS}, "is_public"),
    ],
)
def test_bad_types_are_refused_with_a_sentence(
    admin: Client, share_type: dict[str, Any], word: str
) -> None:
    result = admin("POST", "/types", {"share_type": share_type})
    assert result.status_code == 400, result.text
    assert word in result.json["badRequest"]["message"]
    assert len(admin.get("/types?is_public=all")["share_types"]) == 1


def test_names_are_unique(admin: Client) -> None:
    make(admin, "gold")
    body = {"share_type": {"name": "gold", "extra_specs": SPECS}}
    assert admin("POST", "/types", body).status_code == 409
    other = make(admin, "other")
    renamed = admin("PUT", f"/types/{other['id']}", {"share_type": {"name": "gold"}})
    assert renamed.status_code == 409
    nothing: dict[str, Any]
    for nothing in ({}, {"description": None}, {"name": None, "description": None}):
        answer = admin("PUT", f"/types/{other['id']}", {"share_type": nothing})
        assert answer.status_code == 400, nothing


@pytest.mark.parametrize(
    ("share_type", "volume_type", "counts"),
    [
        ("a", "b", "a"),
        ("a", None, "a"),
        (None, "b", "b"),
        (7, "b", "b"),
        (None, None, None),
        ([], "x", "x"),
        ("", "", None),
    ],
)
def test_of_both_envelopes_the_first_that_is_an_object_counts(
    admin: Client, share_type: object, volume_type: object, counts: str | None
) -> None:
    def body(**more: Any) -> dict[str, Any]:
        both = {"share_type": share_type, "volume_type": volume_type}
        named = {
            key: {"name": value, **more} if isinstance(value, str) and value else value
            for key, value in both.items()
        }
        return {key: value for key, value in named.items() if value != ""}

    made = admin("POST", "/types", body(extra_specs=SPECS))
    assert made.status_code == (200 if counts else 400), made.text
    target = make(admin, "target")["id"] if counts is None else made.json["share_type"]["id"]
    changed = admin("PUT", f"/types/{target}", body(description="z"))
    assert changed.status_code == (200 if counts else 400), changed.text
    if counts:
        shown = admin.get(f"/types/{target}")["share_type"]
        assert (shown["name"], shown["description"]) == (counts, "z")


@pytest.mark.parametrize("word", ["Y", "off", "perhaps"])
def test_who_sees_a_type_is_said_in_any_of_manilas_words(admin: Client, word: str) -> None:
    is_public = {"share_type_access:is_public": word}
    target = make(admin, "target")["id"]
    changed = admin("PUT", f"/types/{target}", {"share_type": is_public})
    if word == "perhaps":
        assert changed.status_code == 400
    else:
        assert changed.json["share_type"]["share_type_access:is_public"] is (word == "Y")
        shown = make(admin, "other", **is_public)["share_type_access:is_public"]
        assert shown is (word == "Y")


def test_description_needs_2_41(admin: Client) -> None:
    body = {"share_type": {"name": "x", "extra_specs": SPECS, "description": "d"}}
    assert admin("POST", "/types", body, version="2.40").status_code == 400


@pytest.mark.parametrize("version", [None, "2.0", "2.6", "2.7", "2.73"])
@pytest.mark.parametrize("name", ["share_type_access", "os-share-type-access"])
def test_both_names_of_the_access_list_are_there_at_all_versions(
    world: ApiInProcess, admin: Client, version: str | None, name: str
) -> None:
    with world.database.begin() as connection:
        specs = {"driver_handles_share_servers": "True"}
        made = share_types.create(connection, "gold", specs, is_public=False)
        share_types.add_access(connection, made["id"], "blue")
    headers = {"X-Auth-Token": admin.token, **({HEADER: version} if version else {})}
    answer = admin.http.simulate_get(f"/v2/types/{made['id']}/{name}", headers=headers)
    assert answer.status_code == 200, answer.text
    assert [one["project_id"] for one in answer.json["share_type_access"]] == ["blue"]
