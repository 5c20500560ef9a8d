"""Metadata of all that has some: keys that paths name, and how much there may be."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from atoll.api.frame.metadata import LARGEST_BYTES, LARGEST_COUNT
from atoll.db import shares
from atoll.db.database import Database
from tests.api.conftest import HEADER, ApiInProcess, Client
from tests.api.scene import add_share, add_snapshot

KEYS = (
    "manila.csi.openstack.org/cluster",
    "/",
    "/a",
    "a/",
    "a//b",
    "a/metadata/b",
    "extra_specs/a",
    "..",
    "a/../b",
    "a b ",
    "100%",
    "%2F",
    "a%2Fb",
    "?q=1&r#s",
    "a+b",
    "schlüssel",
    "💾" * 255,
    'he said "x\\y"',
    "it's",
    "a\nb",
)
VERSION = "2.73"

Resource = Callable[[str], str]


@pytest.fixture
def share(database: Database) -> str:
    return add_share(database, "blue")


@pytest.fixture(params=["shares", "snapshots", "share-access-rules"])
def path(request: pytest.FixtureRequest, database: Database, member: Client, share: str) -> str:
    """Where a resource that can have metadata is."""
    if request.param == "shares":
        return f"/shares/{share}"
    if request.param == "snapshots":
        return f"/snapshots/{add_snapshot(database, 'blue', share, 1)}"
    wish = {"allow_access": {"access_type": "ip", "access_to": "10.0.0.1"}}
    rule = member("POST", f"/shares/{share}/action", wish).json["access"]
    return f"/share-access-rules/{rule['id']}"


def metadata_of(who: Client, path: str) -> dict[str, str]:
    resource = next(iter(who.get(path, version=VERSION).values()))
    metadata: dict[str, str] = resource["metadata"]
    return metadata


def merge(who: Client, path: str, metadata: dict[str, str]) -> Any:
    method = "PUT" if "access-rules" in path else "POST"
    return who(method, f"{path}/metadata", {"metadata": metadata}, version=VERSION)


def test_what_a_body_can_name_a_path_can_name(member: Client, path: str) -> None:
    assert merge(member, path, {key: f"of {key}"[:9] for key in KEYS}).status_code == 200
    for key in KEYS:
        item = f"{path}/metadata/{quote(key, safe='')}"
        if "access-rules" not in path:
            shown = member.get(item, version=VERSION)
            assert shown == {"meta": {key: f"of {key}"[:9]}}
            for method in ("POST", "PUT"):
                body = {"metadata": {key: "new"}}
                assert member(method, item, body, version=VERSION).json == body, key
        assert key in metadata_of(member, path)
        assert member("DELETE", item, version=VERSION).status_code == 200, key
        assert key not in metadata_of(member, path)
        assert member("DELETE", item, version=VERSION).status_code == 404
    assert metadata_of(member, path) == {}


def test_paths_of_old_clients_name_the_same_keys(member: Client, share: str) -> None:
    key = "a//b/"
    assert merge(member, f"/shares/{share}", {key: "v"}).status_code == 200
    headers = {"X-Auth-Token": member.token, HEADER: VERSION}
    for prefix in ("/v2/blue", "/v2//", "//v2"):
        url = f"{prefix}/shares//{share}/metadata/{quote(key)}"
        answer = member.http.simulate_get(url, headers=headers)
        assert answer.json == {"meta": {key: "v"}}, url
    for slashes in ("/", "//"):
        url = f"/v2/blue/shares/{share}{slashes}metadata/"
        assert member.http.simulate_get(url, headers=headers).json == {"metadata": {key: "v"}}


@pytest.mark.parametrize("key", KEYS)
def test_lists_find_what_has_such_a_key(member: Client, database: Database, key: str) -> None:
    share = add_share(database, "blue", metadata={key: "wért\\h", "other": "x"})
    add_share(database, "blue", metadata={"other": "wért\\h"})
    found = member.get("/shares", params={"metadata": repr({key: "wért\\h"})})["shares"]
    assert [one["id"] for one in found] == [share]
    assert member.get("/shares", params={"metadata": repr({key: "x"})})["shares"] == []


def test_there_is_an_end_to_how_many_items(member: Client, path: str) -> None:
    for number in range(LARGEST_COUNT):
        assert merge(member, path, {f"k{number}": "v"}).status_code == 200, number
    refused = merge(member, path, {"one": "more"})
    assert refused.status_code == 400
    assert str(LARGEST_COUNT) in refused.json["badRequest"]["message"]
    assert len(metadata_of(member, path)) == LARGEST_COUNT
    assert merge(member, path, {"k1": "changed"}).status_code == 200
    assert member("DELETE", f"{path}/metadata/k0", version=VERSION).status_code == 200
    assert merge(member, path, {"one": "more"}).status_code == 200


def test_there_is_an_end_to_how_much(member: Client, path: str) -> None:
    value = "💾" * 1000
    number = 0
    while merge(member, path, {f"k{number}": value}).status_code == 200:
        number += 1
        assert number * 4000 <= LARGEST_BYTES
    refused = merge(member, path, {f"k{number}": value})
    assert str(LARGEST_BYTES) in refused.json["badRequest"]["message"]
    assert merge(member, path, {"k0": "short"}).status_code == 200


def test_each_way_to_give_metadata_has_the_same_end(
    world: ApiInProcess, member: Client, share: str
) -> None:
    many = {f"k{number}": "v" for number in range(LARGEST_COUNT + 1)}
    allow = {"access_type": "ip", "access_to": "10.0.0.1", "metadata": many}
    for method, path, body in (
        ("PUT", f"/shares/{share}/metadata", {"metadata": many}),
        ("POST", "/shares", {"share": {"share_proto": "NFS", "size": 1, "metadata": many}}),
        ("POST", "/snapshots", {"snapshot": {"share_id": share, "metadata": many}}),
        ("POST", f"/shares/{share}/action", {"allow_access": allow}),
    ):
        result = member(method, path, body, version=VERSION)
        assert result.status_code == 400, path
        assert str(LARGEST_COUNT) in result.json["badRequest"]["message"]
    assert metadata_of(member, f"/shares/{share}") == {}


def test_requests_at_once_do_not_pass_the_end_together(member: Client, path: str) -> None:
    half = LARGEST_COUNT // 2 + 1
    halves = [{f"{side}{number}": "v" for number in range(half)} for side in "abcd"]
    with ThreadPoolExecutor(4) as pool:
        codes = sorted(
            answer.status_code for answer in pool.map(lambda one: merge(member, path, one), halves)
        )
    assert codes == [200, 400, 400, 400]
    assert len(metadata_of(member, path)) == half


def test_requests_at_once_lose_nothing(member: Client, path: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        wishes = [{f"k{number}": "v"} for number in range(12)]
        assert {a.status_code for a in pool.map(lambda w: merge(member, path, w), wishes)} == {200}
    assert len(metadata_of(member, path)) == 12


def test_what_is_too_much_already_can_become_less(
    world: ApiInProcess, member: Client, share: str
) -> None:
    many = {f"k{number}": "v" for number in range(LARGEST_COUNT + 9)}
    with world.database.begin() as connection:
        shares.change(connection, share, metadata=many)
    path = f"/shares/{share}"
    assert member("DELETE", f"{path}/metadata/k1").status_code == 200
    fewer = dict(list(many.items())[: LARGEST_COUNT + 2])
    assert member("PUT", f"{path}/metadata", {"metadata": fewer}).status_code == 200
    assert merge(member, path, {"one": "more"}).status_code == 400


def test_a_type_has_an_end_of_extra_specs(admin: Client) -> None:
    type_id = admin.get("/types/default")["share_type"]["id"]
    path = f"/types/{type_id}/extra_specs"
    many = {f"k{number}": "v" for number in range(LARGEST_COUNT - 3)}
    assert admin("POST", path, {"extra_specs": many}).status_code == 200
    assert admin("POST", path, {"extra_specs": {"one": "more"}}).status_code == 400
    assert admin("PUT", f"{path}/one", {"one": "more"}).status_code == 400
    assert admin("PUT", f"{path}/k1", {"k1": "changed"}).status_code == 200
    new = {"name": "new", "extra_specs": {**many, "a": "b", "driver_handles_share_servers": True}}
    assert admin("POST", "/types", {"share_type": new}).status_code == 200
    new["name"], new["extra_specs"]["c"] = "newer", "d"  # type: ignore[index]
    new["extra_specs"] |= {"e": "f"}  # type: ignore[operator]
    assert admin("POST", "/types", {"share_type": new}).status_code == 400


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"x" * 256: "v"}, "a key of 'metadata': expected a string of at most 255 characters"),
        ({"": "v"}, "a key of 'metadata': expected a string that is not empty"),
        ({"k": "x" * 1024}, "a value of 'metadata': expected a string of at most 1023 characters"),
        ({"k": 5}, "a value of 'metadata': expected a string, got an integer"),
        ([], "field 'metadata': expected an object, got a list"),
    ],
)
def test_refusals_are_sentences(member: Client, path: str, metadata: Any, words: str) -> None:
    result = merge(member, path, metadata)
    assert result.status_code == 400
    assert result.json["badRequest"]["message"] == f"Invalid input for {words}."


def test_administrators_keys_may_be_put_back_and_not_be_changed(
    world: ApiInProcess, member: Client, share: str
) -> None:
    fixed = {"__affinity_same_host": "x"}
    with world.database.begin() as connection:
        shares.change(connection, share, metadata=fixed)
    path = f"/shares/{share}/metadata"
    for method in ("POST", "PUT"):
        assert member(method, path, {"metadata": {**fixed, "a": "b"}}).status_code == 200
        assert member(method, path, {"metadata": {"__affinity_same_host": "y"}}).status_code == 403
    assert member("DELETE", f"{path}/__affinity_same_host").status_code == 403
    assert member.get(path) == {"metadata": {**fixed, "a": "b"}}
