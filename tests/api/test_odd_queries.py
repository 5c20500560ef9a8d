"""Query strings as clients, and who means no good, write them: the same answer on all databases."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from atoll.api.app import RESOURCES
from atoll.db import share_types
from tests.api.conftest import ApiInProcess, Client
from tests.api.scene import add_server, add_share, add_snapshot

BIG = (
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999",
    "9" * 5000,
)
LISTS = (
    *("/shares", "/shares/detail", "/snapshots", "/snapshots/detail", "/share-networks"),
    *("/share-networks/detail", "/share-servers", "/messages"),
)
NEWEST = "2.73"


@pytest.fixture
def rows(world: ApiInProcess, member: Client) -> None:
    """One of each, so that an empty list says something."""
    share = add_share(world.database, "ops", name="a", metadata={"k": "v"})
    add_snapshot(world.database, "ops", share, 1)
    network = member("POST", "/share-networks", {"share_network": {"name": "n"}})
    subnet = network.json["share_network"]["share_network_subnets"][0]["id"]
    add_server(world.database, "blue", subnet)


@pytest.mark.parametrize("path", LISTS)
def test_behind_the_end_is_empty_however_far(rows: None, admin: Client, path: str) -> None:
    (key, found) = next(iter(admin.get(f"{path}?all_tenants=1", version=NEWEST).items()))
    assert found or path == "/messages"
    for offset in BIG:
        answer = admin.get(f"{path}?all_tenants=1&offset={offset}", version=NEWEST)
        assert answer == {key: []}, offset
        all_of_it = admin.get(f"{path}?all_tenants=1&limit={offset}", version=NEWEST)
        assert all_of_it[key] == found
    for wrong in ("offset=-1", "limit=-1", "offset=-99999999999999999999", "offset=1.5", "limit=x"):
        assert admin("GET", f"{path}?{wrong}", version=NEWEST).status_code == 400, wrong


def test_no_row_has_a_number_that_no_column_holds(rows: None, admin: Client) -> None:
    for query in (
        "/snapshots?size=",
        "/snapshots?share_size=",
        "/share-networks?all_tenants=1&segmentation_id=",
        "/share-networks?all_tenants=1&ip_version=",
        "/share-networks?all_tenants=1&mtu=",
    ):
        for number in (*BIG, "-1", "-4", f"-{2**70}", "-" + "9" * 5000):
            found = admin.get(f"{query}{number}", version=NEWEST)
            assert next(iter(found.values())) == [], query
        for wrong in ("", "%20", "-", "--1", "-x", "1.5", "-²"):
            assert admin("GET", f"{query}{wrong}", version=NEWEST).status_code == 400, query + wrong


def test_a_flag_without_a_value_says_yes_where_manila_says_so(
    world: ApiInProcess, admin: Client, member: Client
) -> None:
    share = add_share(world.database, "blue")
    add_snapshot(world.database, "blue", share, 1)
    member("POST", "/share-networks", {"share_network": {}})
    for path in ("/shares", "/shares/detail", "/snapshots", "/snapshots/detail", "/share-networks"):
        for flag in ("all_tenants", "all_tenants="):
            for query in (f"?{flag}", f"?limit=5&{flag}", f"?{flag}&limit=5"):
                assert len(next(iter(admin.get(path + query).values()))) == 1, path + query
        assert next(iter(admin.get(f"{path}?all_tenants=0").values())) == []
        assert admin("GET", f"{path}?all_tenants=perhaps").status_code == 400
        assert len(next(iter(member.get(f"{path}?all_tenants").values()))) == 1
    for flag in ("is_public", "with_count", "is_soft_deleted"):  # Manila refuses these
        assert admin("GET", f"/shares?{flag}", version=NEWEST).status_code == 400, flag
    assert admin("GET", "/types?is_public").status_code == 400


DICTIONARIES = (
    r"{'a': '\ud800'}",
    r"{'\udfff': 'a'}",
    r"{'a': '\x00'}",
    r'{"a": "\u0000"}',
    r'{"a": "\ud800"}',
    "{0x" + "f" * 4000 + ": 'a'}",
    "{'a': 0x" + "f" * 4000 + "}",
    "{" * 2000,
    "{'a':" * 500 + "1" + "}" * 500,
    "{'a': {'b': 'c'}}",
    "{'a': []}",
    "{[]: 1}",
    "{'a': b'x'}",
    "{('a', 'b'): 'c'}",
    "{'a': 1j}",
    "{**{}}",
    "{'a'}",
    "['a']",
    "'a'",
    "1e999",
    "-" * 3000 + "1",
    "{'a': 'b'",
    "\xff",
)


@pytest.mark.parametrize("value", DICTIONARIES)
def test_what_is_no_dictionary_of_texts_is_400(
    world: ApiInProcess, admin: Client, value: str
) -> None:
    share = add_share(world.database, "ops", metadata={"k": "v"})
    for path in (
        "/shares?metadata=",
        "/snapshots?metadata=",
        f"/share-access-rules?share_id={share}&metadata=",
        "/types?extra_specs=",
        "/scheduler-stats/pools?capabilities=",
    ):
        result = admin("GET", path + quote(value, encoding="utf-8"), version=NEWEST)
        assert result.status_code == 400, (path, result.text)
        assert "dictionary" in result.json["badRequest"]["message"]


ORDER = ("", "Backup-DB", "Zebra", "_x", "a b", "a_b", "ab", "backup-web", "Ä", "ä", "é", "💾")


def test_names_are_in_the_same_order_on_all_databases(world: ApiInProcess, member: Client) -> None:
    if not world.database.is_sqlite:
        # A server that was set up for a language sorts by its rules.
        with world.database.begin() as connection:
            connection.exec_driver_sql(
                'ALTER TABLE shares ALTER COLUMN name TYPE varchar(255) COLLATE "en-x-icu"'
            )
    for name in reversed(ORDER):
        add_share(world.database, "blue", name=name or None)
    query = "/shares?sort_key=name&sort_dir="
    listed = [one["name"] or "" for one in member.get(query + "asc")["shares"]]
    assert listed == sorted(ORDER)
    assert [one["name"] or "" for one in member.get(query + "desc")["shares"]] == listed[::-1]
    paged: list[str] = []
    marker = ""
    while page := member.get(f"{query}asc&limit=5{marker}")["shares"]:
        paged += [one["name"] or "" for one in page]
        marker = f"&marker={page[-1]['id']}"
    assert paged == listed


def test_no_answer_tells_whether_a_private_type_exists(world: ApiInProcess, member: Client) -> None:
    share = add_share(world.database, "blue")
    snapshot = add_snapshot(world.database, "blue", share, 1)
    with world.database.begin() as connection:
        specs = {"driver_handles_share_servers": "True"}
        secret = share_types.create(connection, "secret", specs, is_public=False)
    network = member("POST", "/share-networks", {"share_network": {}}).json["share_network"]
    wish = {"share_proto": "NFS", "size": 1}

    def answers(kind: str) -> list[tuple[int, str]]:
        requests: list[tuple[str, str, Any]] = [
            ("GET", f"/quota-sets/blue?share_type={kind}", None),
            ("GET", f"/quota-sets/blue/detail?share_type={kind}", None),
            ("GET", f"/types/{kind}", None),
            ("GET", f"/types/{kind}/extra_specs", None),
            ("GET", f"/types/{kind}/extra_specs/driver_handles_share_servers", None),
            ("GET", f"/types/{kind}/share_type_access", None),
            ("GET", f"/shares?share_type_id={kind}", None),
            ("GET", f"/scheduler-stats/pools?share_type={kind}", None),
            ("PUT", f"/types/{kind}", {"share_type": {"name": "x"}}),
            ("DELETE", f"/types/{kind}", None),
            ("POST", "/shares", {"share": wish | {"share_type": kind}}),
            ("POST", "/shares", {"share": wish | {"volume_type": kind}}),
            (
                "POST",
                "/shares",
                {"share": wish | {"share_type": kind, "share_network_id": network["id"]}},
            ),
            ("POST", "/shares", {"share": wish | {"share_type": kind, "snapshot_id": snapshot}}),
        ]
        found = [member(*one) for one in requests]
        return [(one.status_code, one.text.replace(kind, "KIND")) for one in found]

    unknown = "11111111-2222-3333-4444-555555555555"
    assert answers("secret") == answers("nothing")
    assert answers(secret["id"]) == answers(unknown)
    assert answers("nothing")[0][0] == 404


PARAMETERS = sorted(
    {
        name
        for module in RESOURCES
        for each in getattr(getattr(module, "FILTERS", None), "_filters", ())
        for name in (each.name,)
    }
    | {"limit", "offset", "marker", "sort_key", "sort_dir", "all_tenants", "all_projects"}
    | {"project_id", "is_public", "metadata", "extra_specs", "with_count", "is_soft_deleted"}
    | {"export_location_id", "export_location_path", "capabilities", "share_type", "user_id"}
    | {"security_service_id", "share_id", "nova_net_id", "share_group_id", "name", "read_deleted"}
)
PATHS = sorted(
    {path for module in RESOURCES for path, by in module.routes.methods.items() if "GET" in by}
)
ODD = (
    *BIG,
    *DICTIONARIES,
    *(
        "",
        "-1",
        "0x7f",
        "1e5",
        "²",
        "٣",
        "\x00",
        "%",
        "_",
        "\\",
        "'",
        '"',
        "[",
        "(a+)+$",
        "{'a': 'b'}",
    ),
    *("2026-02-30", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-W01-1"),
    *("created_at", "metadata", "id;--", "desc", "all", "\ud7ff", "\U0010ffff", "é" * 300),
)


@hypothesis_settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    path=st.sampled_from(PATHS),
    query=st.dictionaries(
        st.sampled_from(PARAMETERS), st.sampled_from(ODD) | st.text(max_size=9), max_size=3
    ),
    raw=st.binary(max_size=12) | st.just(b""),
    version=st.sampled_from(["2.7", "2.45", "2.73"]),
    as_admin=st.booleans(),
)
def test_no_query_makes_it_fail(
    rows: None,
    member: Client,
    admin: Client,
    path: str,
    query: dict[str, str],
    raw: bytes,
    version: str,
    as_admin: bool,
) -> None:
    for part in path.split("/"):
        if part.startswith("{"):
            path = path.replace(part, "blue")
    words = [f"{name}={quote(value)}" for name, value in query.items()]
    tail = raw.decode("latin-1").replace("#", "").replace("?", "")
    answer = (admin if as_admin else member)(
        "GET", path, version=version, query_string="&".join([*words, quote(tail, safe="%&=+;")])
    )
    assert answer.status_code < 500, (path, words, raw, answer.text)
