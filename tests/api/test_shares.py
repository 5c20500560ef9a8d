"""Shares: lists and their filters, pages, show, update, delete, metadata."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from atoll.db import export_locations, shares
from atoll.db.database import Database
from tests.api.conftest import ApiInProcess, Client
from tests.api.scene import add_share, add_snapshot, queued

UNKNOWN = "11111111-2222-3333-4444-555555555555"


def names(answer: dict[str, Any]) -> list[str]:
    return [share["name"] for share in answer["shares"]]


@pytest.fixture
def three(database: Database) -> list[str]:
    return [
        add_share(database, "blue", name="a", size=3, metadata={"k": "1"}),
        add_share(database, "blue", name="b", size=1, status="error", description="dull"),
        add_share(database, "blue", name="ab%", size=2, metadata={"k": "1", "l": "2"}),
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["ab%", "b", "a"]),
        ("name=a", ["a"]),
        ("display_name=b", ["b"]),
        ("name~=a", ["ab%", "a"]),
        ("name~=%25", ["ab%"]),
        ("description~=ul", ["b"]),
        ("status=error", ["b"]),
        ("status=nonsense", []),
        ("metadata=%7B'k':+'1'%7D", ["ab%", "a"]),
        ('metadata={"k":"1","l":"2"}', ["ab%"]),
        ("metadata=%7B'k%22':+'1'%7D", []),
        ("is_public=false", ["ab%", "b", "a"]),
        ("is_public=true&all_tenants=1", ["ab%", "b", "a"]),
        ("sort_key=display_name&sort_dir=desc", ["b", "ab%", "a"]),
        ("sort_key=size&sort_dir=asc", ["b", "ab%", "a"]),
        ("sort_key=name&sort_dir=desc", ["b", "ab%", "a"]),
        ("limit=2", ["ab%", "b"]),
        ("limit=2&offset=2", ["a"]),
        ("limit=0", ["ab%", "b", "a"]),
        ("unknown=1", ["ab%", "b", "a"]),
    ],
)
def test_filters_order_and_pages(
    member: Client, three: list[str], query: str, expected: list[str]
) -> None:
    assert names(member.get(f"/shares/detail?{query}")) == expected
    assert names(member.get(f"/shares?{query}")) == expected


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=many",
        "offset=-1",
        "offset=1e3",
        "sort_key=options",
        "sort_dir=up",
        "marker=none-such",
        "metadata=[",
        "metadata=%7B'a':%7B%7D",
        "metadata=" + "[" * 4000,
        "is_public=maybe",
        "name=%00",
        "with_count=2",
    ],
)
def test_bad_queries(member: Client, query: str) -> None:
    result = member("GET", f"/shares/detail?{query}")
    assert result.status_code == 400
    assert result.json["badRequest"]["message"]


def test_following_next_links_shows_each_share_once_and_ends(
    member: Client, database: Database
) -> None:
    made = {add_share(database, "blue", name=None if i % 3 else str(i)) for i in range(11)}
    for order in ("", "&sort_key=name", "&sort_key=size&sort_dir=asc"):
        url, seen = f"/shares?limit=2{order}", list[str]()
        for _ in range(10):
            answer = member.get(url)
            seen += [share["id"] for share in answer["shares"]]
            if "shares_links" not in answer:
                break
            link = urlsplit(answer["shares_links"][0]["href"])
            assert parse_qs(link.query)["limit"] == ["2"]
            url = f"{link.path.removeprefix('/v2')}?{link.query}"
        assert len(seen) == len(made)
        assert set(seen) == made


def test_an_exactly_full_page_has_no_next(member: Client, three: list[str]) -> None:
    assert "shares_links" not in member.get("/shares?limit=3")


def test_with_count(member: Client, three: list[str]) -> None:
    assert member.get("/shares?limit=1&with_count=true")["count"] == 3
    assert "count" not in member.get("/shares?limit=1&with_count=true", version="2.41")


def test_projects_see_their_own_and_administrators_all(
    member: Client, stranger: Client, admin: Client, three: list[str]
) -> None:
    assert names(stranger.get("/shares/detail")) == []
    assert names(stranger.get("/shares/detail?all_tenants=1&project_id=blue")) == []
    assert names(admin.get("/shares/detail")) == []
    assert len(names(admin.get("/shares/detail?all_tenants=1"))) == 3
    assert len(names(admin.get("/shares/detail?project_id=blue"))) == 3
    for method in ("GET", "DELETE"):
        assert stranger(method, f"/shares/{three[0]}").status_code == 404
    assert admin("GET", f"/shares/{three[0]}").status_code == 200


def test_public_shares_are_seen_by_all_and_changed_by_their_own(
    database: Database, stranger: Client
) -> None:
    share_id = add_share(database, "blue", is_public=True, name="open")
    add_share(database, "red", name="my own")
    assert names(stranger.get("/shares")) == ["my own"]
    assert set(names(stranger.get("/shares?is_public=true"))) == {"my own", "open"}
    assert stranger.get(f"/shares/{share_id}")["share"]["name"] == "open"
    for method, path, body in (
        ("DELETE", "", None),
        ("PUT", "", {"share": {"display_name": "mine"}}),
        ("POST", "/metadata", {"metadata": {"a": "b"}}),
        ("POST", "/action", {"extend": {"new_size": 5}}),
    ):
        assert stranger(method, f"/shares/{share_id}{path}", body).status_code == 404
    assert stranger.get(f"/share-access-rules?share_id={share_id}") == {"access_list": []}


def test_a_public_shares_parts_are_seen_as_the_share_is(
    database: Database, stranger: Client, member: Client
) -> None:
    share_id = add_share(database, "blue", is_public=True, metadata={"a": "b"})
    with database.begin() as connection:
        export_locations.replace(
            connection,
            share_id,
            [
                {"path": "10.0.0.9:/shares/x", "is_admin_only": False},
                {"path": "10.9.9.9:/shares/x", "is_admin_only": True},
            ],
        )
    path = f"/shares/{share_id}"
    below = stranger.get(path, version="2.8")["share"]["export_locations"]
    for version in ("2.9", "2.47", "2.73"):
        seen = stranger.get(f"{path}/export_locations", version=version)["export_locations"]
        assert [one["path"] for one in seen] == below == ["10.0.0.9:/shares/x"]
        alone = stranger.get(f"{path}/export_locations/{seen[0]['id']}", version=version)
        assert alone["export_location"]["path"] == below[0]
    assert stranger.get(f"{path}/metadata/a") == {"meta": {"a": "b"}}
    rule = {"allow_access": {"access_type": "ip", "access_to": "10.0.0.1"}}
    assert member("POST", f"{path}/action", rule).status_code == 200
    # Who may mount it is its owner's business, however it is asked for.
    assert stranger.get(f"/share-access-rules?share_id={share_id}") == {"access_list": []}
    listed = stranger("POST", f"{path}/action", {"access_list": None}, version="2.44")
    assert listed.json == {"access_list": []}
    private = add_share(database, "blue")
    assert stranger("GET", f"/shares/{private}/export_locations").status_code == 404


def test_fields_by_version(database: Database, member: Client, admin: Client) -> None:
    share_id = add_share(database, "blue", access_rules_status="syncing", host="h@l#p")
    with database.begin() as connection:
        export_locations.replace(
            connection, share_id, [{"path": "10.0.0.9:/shares/x", "is_admin_only": False}]
        )

    def fields(version: str, who: Client = member) -> dict[str, Any]:
        share: dict[str, Any] = who.get(f"/shares/{share_id}", version=version)["share"]
        return share

    assert fields("2.0")["share_type"] == "default"
    assert fields("2.0")["export_location"] == "10.0.0.9:/shares/x"
    assert fields("2.8")["export_locations"] == ["10.0.0.9:/shares/x"]
    assert "export_location" not in fields("2.9")
    assert len(fields("2.6")["share_type"]) == 36
    assert fields("2.6")["share_type_name"] == "default"
    assert "access_rules_status" not in fields("2.9")
    assert fields("2.27")["access_rules_status"] == "out_of_sync"
    assert fields("2.28")["access_rules_status"] == "syncing"
    assert "snapshot_support" not in fields("2.1")
    assert fields("2.2")["snapshot_support"] is True
    assert "user_id" not in fields("2.15")
    assert "progress" in fields("2.54")
    assert "host" not in fields("2.65")
    assert fields("2.65", admin)["host"] == "h@l#p"


def test_update(member: Client, reader: Client, three: list[str]) -> None:
    path = f"/shares/{three[0]}"
    body = {"share": {"display_name": "new", "display_description": None}}
    share = member("PUT", path, body).json["share"]
    assert (share["name"], share["description"]) == ("new", None)
    assert reader("PUT", path, body).status_code == 403
    assert member("PUT", path, {"share": {"is_public": True}}).status_code == 403
    assert member("PUT", path, {"share": {"is_public": "y"}}).status_code == 403
    for word in (False, "OFF", "n"):
        assert member("PUT", path, {"share": {"is_public": word}}).status_code == 200
    assert member("PUT", path, {"share": {"display_name": 5}}).status_code == 400
    assert member("PUT", path, {"shares": {}}).status_code == 422


class TestDelete:
    @pytest.mark.parametrize("status", ["available", "error", "error_deleting", "inactive"])
    def test_it_is_marked_and_asked_for(
        self, world: ApiInProcess, member: Client, status: str
    ) -> None:
        share_id = add_share(world.database, "blue", status=status)
        result = member("DELETE", f"/shares/{share_id}")
        assert (result.status_code, result.text) == (202, "")
        assert member.get(f"/shares/{share_id}")["share"]["status"] == "deleting"
        assert queued(world.database) == {f"share/{share_id}"}

    @pytest.mark.parametrize("status", ["creating", "deleting", "extending"])
    def test_not_while_work_is_under_way(
        self, world: ApiInProcess, member: Client, admin: Client, status: str
    ) -> None:
        share_id = add_share(world.database, "blue", status=status)
        result = member("DELETE", f"/shares/{share_id}")
        assert result.status_code == 403
        assert status in result.json["forbidden"]["message"]
        assert not queued(world.database)
        forced = {"force_delete": None}
        assert member("POST", f"/shares/{share_id}/action", forced).status_code == 403
        assert admin("POST", f"/shares/{share_id}/action", forced).status_code == 202
        assert queued(world.database) == {f"share/{share_id}"}

    def test_not_while_it_has_snapshots(self, world: ApiInProcess, member: Client) -> None:
        share_id = add_share(world.database, "blue")
        add_snapshot(world.database, "blue", share_id, 1)
        result = member("DELETE", f"/shares/{share_id}")
        assert result.status_code == 403
        assert "1 dependent snapshot" in result.json["forbidden"]["message"]

    def test_unknown(self, member: Client) -> None:
        result = member("DELETE", f"/shares/{UNKNOWN}")
        assert result.status_code == 404
        assert result.json["itemNotFound"]["code"] == 404


class TestMetadata:
    @pytest.fixture
    def path(self, three: list[str]) -> str:
        return f"/shares/{three[2]}/metadata"

    def test_merge_replace_and_single_keys(self, member: Client, path: str) -> None:
        assert member.get(path) == {"metadata": {"k": "1", "l": "2"}}
        merged = member("POST", path, {"metadata": {"l": "3", "m": "4"}})
        assert merged.json == {"metadata": {"k": "1", "l": "3", "m": "4"}}
        assert member.get(f"{path}/m") == {"meta": {"m": "4"}}
        assert member("POST", f"{path}/m", {"metadata": {"m": "5"}}).status_code == 200
        assert member("PUT", f"{path}/m", {"meta": {"m": "6"}}).status_code == 200
        assert member("DELETE", f"{path}/k").status_code == 200
        assert member("DELETE", f"{path}/k").status_code == 404
        assert member.get(path) == {"metadata": {"l": "3", "m": "6"}}
        assert member("PUT", path, {"metadata": {}}).json == {"metadata": {}}

    @pytest.mark.parametrize(
        "body",
        [{}, {"metadata": None}, {"metadata": {"a": {"b": "c"}}}, {"metadata": {"a" * 256: "b"}}],
    )
    def test_bad_bodies(self, member: Client, path: str, body: dict[str, Any]) -> None:
        assert member("POST", path, body).status_code == 400
        assert member.get(path) == {"metadata": {"k": "1", "l": "2"}}

    def test_the_key_must_be_the_paths(self, member: Client, path: str) -> None:
        assert member("POST", f"{path}/a", {"metadata": {"b": "1"}}).status_code == 400

    def test_what_is_the_administrators(self, member: Client, admin: Client, path: str) -> None:
        mine = {"metadata": {"__affinity_same_host": "x"}}
        assert member("POST", path, mine).status_code == 403
        assert admin("POST", path, mine).status_code == 200
        assert member("DELETE", f"{path}/__affinity_same_host").status_code == 403
        kept = member("PUT", path, {"metadata": {"a": "b"}}).json["metadata"]
        assert kept == {"a": "b", "__affinity_same_host": "x"}

    def test_strangers_and_readers(self, stranger: Client, reader: Client, path: str) -> None:
        assert stranger("GET", path).status_code == 404
        assert reader("GET", path).status_code == 200
        assert reader("POST", path, {"metadata": {"a": "b"}}).status_code == 403


def test_filter_by_export_location(database: Database, member: Client, three: list[str]) -> None:
    with database.begin() as connection:
        location = {"path": "10.0.0.9:/shares/x", "is_admin_only": False}
        export_locations.replace(connection, three[1], [location])
        (row,) = export_locations.of_share(connection, three[1], with_admin_only=False)
    assert names(member.get(f"/shares?export_location_id={row['id']}")) == ["b"]
    assert names(member.get("/shares?export_location_path=10.0.0.9:/shares/x")) == ["b"]
    assert names(member.get("/shares?export_location_path=other")) == []
    assert len(names(member.get("/shares?export_location_path=other", version="2.34"))) == 3


def test_a_thousand_shares_in_one_page(database: Database, member: Client) -> None:
    first = add_share(database, "blue")
    with database.begin() as connection:
        row = shares.get(connection, first)
        assert row is not None
        for number in range(999):
            row["id"] = f"{number:036}"
            shares.add(connection, **row)
    answer = member.get("/shares/detail")
    assert len(answer["shares"]) == 1000
    assert "shares_links" not in answer
