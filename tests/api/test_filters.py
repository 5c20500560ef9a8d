"""Filters of lists: each that Manila knows filters, and does so alike on both databases."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from atoll.db import share_networks, share_servers, share_types, subnets
from atoll.db.database import Database
from tests.api import scene
from tests.api.conftest import ApiInProcess, Client

UNKNOWN = str(uuid4())
NAMES = ("Backup-DB", "backup-web", "_x", "a%b", "a_b", "Ähre", "zeta", "Zeta", "back\\slash", None)
"""Those that databases sort, or find, each in its own way."""


@pytest.fixture
def named(database: Database) -> dict[str | None, str]:
    """Ids of shares by their names."""
    return {name: scene.add_share(database, "blue", name=name) for name in NAMES}


def found(client: Client, query: str, version: str = "2.73") -> set[str]:
    """Names of the shares in both lists, which are the same."""
    brief = [one["name"] for one in client.get(f"/shares?{query}", version)["shares"]]
    full = [one["name"] for one in client.get(f"/shares/detail?{query}", version)["shares"]]
    assert brief == full
    return set(brief)


PARTS: tuple[tuple[str, set[str]], ...] = (
    ("backup", {"Backup-DB", "backup-web"}),
    ("BACKUP", {"Backup-DB", "backup-web"}),
    ("-db", {"Backup-DB"}),
    ("%", {"a%b"}),
    ("_", {"_x", "a_b"}),
    ("\\", {"back\\slash"}),
    ("ZETA", {"zeta", "Zeta"}),
    ("Ähr", {"Ähre"}),
    ("ähr", set()),
    ("'", set()),
    ("", {name for name in NAMES if name is not None}),
)


def test_a_part_of_a_name_is_found_in_small_and_capital_letters(
    member: Client, named: object
) -> None:
    for part, names in PARTS:
        for parameter in ("name~", "display_name~"):
            assert found(member, f"{parameter}={quote(part)}") == names, part
            assert found(member, f"{parameter}={quote(part)}", "2.35") == set(NAMES)


def test_a_whole_name_is_one_spelling(member: Client, named: object) -> None:
    for name in NAMES:
        if name is not None:
            assert found(member, f"name={quote(name)}") == {name}


def test_names_are_sorted_by_their_characters_on_every_page(member: Client, named: object) -> None:
    expected = sorted(NAMES, key=lambda name: name or "")
    for direction, order in (("asc", expected), ("desc", expected[::-1])):
        query = f"/shares?sort_key=name&sort_dir={direction}"
        assert [one["name"] for one in member.get(query)["shares"]] == order
        seen, url = list[str | None](), f"{query}&limit=3"
        while url:
            page = member.get(url)
            seen += [one["name"] for one in page["shares"]]
            more = "shares_links" in page
            url = f"{query}&limit=3&marker={page['shares'][-1]['id']}" if more else ""
        assert seen == order


def test_parts_and_order_of_share_networks_and_snapshots(
    world: ApiInProcess, member: Client, database: Database
) -> None:
    share_id = scene.add_share(database, "blue")
    body = {"snapshot": {"share_id": share_id}}
    for name in ("Backup-DB", "backup-web", "alpha"):
        made = member("POST", "/share-networks", {"share_network": {"name": name}})
        assert made.status_code == 200, made.text
        taken = member("POST", "/snapshots", {"snapshot": {**body["snapshot"], "name": name}})
        assert taken.status_code == 202, taken.text
    for path, key in (("/share-networks", "share_networks"), ("/snapshots", "snapshots")):
        listed = member.get(f"{path}?name~=backup")[key]
        assert {one["name"] for one in listed} == {"Backup-DB", "backup-web"}
        listed = member.get(f"{path}?sort_key=name&sort_dir=asc")[key]
        assert [one["name"] for one in listed] == ["Backup-DB", "alpha", "backup-web"]


@pytest.mark.parametrize("key", ["""q"u'o.te""", "back\\slash", "bü[0]$"])
def test_metadata_is_found_by_any_key(member: Client, database: Database, key: str) -> None:
    share_id = scene.add_share(database, "blue", name="it", metadata={key: "v%'\"", "k": "1"})
    scene.add_share(database, "blue", name="other", metadata={key: "w"})
    query = quote(repr({key: "v%'\"", "k": "1"}))
    assert found(member, f"metadata={query}") == {"it"}
    assert found(member, f"metadata={quote(repr({key: 'v', 'k': '1'}))}") == set()
    taken = {"snapshot": {"share_id": share_id, "name": "s", "metadata": {key: "v"}}}
    assert member("POST", "/snapshots", taken, version="2.73").status_code == 202
    query = f"/snapshots?metadata={quote(repr({key: 'v'}))}"
    assert len(member.get(query, version="2.73")["snapshots"]) == 1


NO_SHARE_HAS = (
    "share_group_id",
    "share_group_snapshot_id",
    "source_share_group_snapshot_id",
    "source_share_group_snapshot_member_id",
    "mount_point_name",
    "share_type_id",
    "volume_type_id",
    "share_network_id",
    "snapshot_id",
    "status",
    "user_id",
    "export_location_id",
    "export_location_path",
    "display_description",
)


def test_what_no_share_has_filters_all_of_them(member: Client, named: object) -> None:
    for parameter in NO_SHARE_HAS:
        for value in (UNKNOWN, "", "None", "%25"):
            query = f"{parameter}={value}&with_count=1"
            listed = member.get(f"/shares/detail?{query}", version="2.73")
            assert listed == {"shares": [], "count": 0}, query


def test_soft_deleted_shares_are_counted_too(member: Client, named: object) -> None:
    for value, count in (("true", 0), ("1", 0), ("False", len(NAMES)), ("off", len(NAMES))):
        query = f"/shares?is_soft_deleted={value}&with_count=yes"
        assert member.get(query, version="2.73")["count"] == count
        assert len(member.get(query, version="2.68")["shares"]) == len(NAMES)


def test_shares_by_the_extra_specs_of_their_types(
    world: ApiInProcess, admin: Client, member: Client, database: Database
) -> None:
    specs = {"driver_handles_share_servers": "True", "tier": "gold", "availability_zones": "a,b"}
    with database.begin() as connection:
        gold = share_types.create(connection, "gold", specs)["id"]
        plain = share_types.find(connection, "default")["id"]
    scene.add_share(database, "blue", name="golden", share_type_id=gold)
    scene.add_share(database, "blue", name="plain", share_type_id=plain)
    both = {"golden", "plain"}
    cases: list[tuple[dict[str, Any], set[str], set[str]]] = [
        ({"foo": "bar"}, set(), set()),
        ({"tier": "gold"}, {"golden"}, set()),  # a member doesn't see this spec
        ({"tier": "silver"}, set(), set()),
        ({"snapshot_support": "<is> True"}, {"plain"}, {"plain"}),
        ({"snapshot_support": "False"}, {"golden"}, {"golden"}),
        ({"driver_handles_share_servers": "1"}, both, both),
        ({"driver_handles_share_servers": "1", "foo": "bar"}, set(), set()),
        ({"availability_zones": "b"}, both, both),
        ({"availability_zones": "c"}, {"plain"}, {"plain"}),
        ({}, both, both),
    ]
    for wanted, for_admins, for_members in cases:
        query = f"extra_specs={quote(repr(wanted))}"
        assert found(admin, f"all_tenants=1&{query}") == for_admins, wanted
        assert found(member, query) == for_members, wanted
        assert found(member, query, "2.0") == for_members, wanted
    assert member("GET", "/shares?extra_specs=foo").status_code == 400


@pytest.mark.parametrize("parameter", ["host", "share_server_id"])
def test_only_administrators_ask_for_a_host_or_a_share_server(
    admin: Client, member: Client, database: Database, parameter: str
) -> None:
    with database.begin() as connection:
        network = share_networks.create(connection, "blue", "u")
        subnet = subnets.create(connection, network)
    server = scene.add_server(database, "blue", subnet)
    scene.add_share(database, "blue", name="it", host="h@memory#memory", share_server_id=server)
    scene.add_share(database, "blue", name="other")
    here = {"host": "h@memory%23memory", "share_server_id": server}[parameter]
    assert found(admin, f"all_tenants=1&{parameter}={here}") == {"it"}
    assert found(admin, f"all_tenants=1&{parameter}=elsewhere") == set()
    result = member("GET", f"/shares?{parameter}={here}")
    assert result.status_code == 403
    assert f"share:list_by_{parameter}" in result.json["forbidden"]["message"]


NETWORK_QUERIES = (
    ("nova_net_id=n", 0),
    ("nova_net_id=", 0),
    ("security_service_id=s", 0),
    ("gateway=10.0.0.1", 1),
    ("gateway=10.0.0.9", 0),
    ("mtu=1450", 1),
    ("mtu=9000", 0),
    ("user_id=somebody", 0),
    (f"id={UNKNOWN}", 0),
    ("availability_zone=zz", 0),
    ("segmentation_id=77", 1),
    ("segmentation_id=78", 0),
    ("cidr=10.0.0.0/24", 1),
    ("ip_version=6", 0),
    ("name=none", 0),
    ("description~=none", 0),
    ("created_since=2999-01-01", 0),
    ("created_before=2001-01-01", 0),
    ("unknown=1", 1),
)


def test_share_networks_by_what_manila_knows(admin: Client, database: Database) -> None:
    with database.begin() as connection:
        network = share_networks.create(connection, "blue", "u", name="n", description="d")
        subnet = subnets.create(connection, network)
        subnets.change(
            connection,
            subnet,
            gateway="10.0.0.1",
            mtu=1450,
            cidr="10.0.0.0/24",
            ip_version=4,
            segmentation_id=77,
        )
    for query, count in NETWORK_QUERIES:
        for path in ("/share-networks", "/share-networks/detail"):
            listed = admin.get(f"{path}?all_tenants=1&{query}", version="2.73")["share_networks"]
            assert len(listed) == count, query


def test_share_servers_by_what_manila_knows(admin: Client, database: Database) -> None:
    with database.begin() as connection:
        network = share_networks.create(connection, "blue", "u", name="net")
        subnet = subnets.create(connection, network)
    server = scene.add_server(database, "blue", subnet, identifier="i-1")
    for query, count in (
        (f"id={server}", 1),
        ("id=other", 0),
        (f"share_network_id={network}", 1),
        ("share_network_id=net", 0),
        ("share_network_name=net", 1),
        ("share_network=net", 1),
        ("identifier=i-2", 0),
        (f"identifier={server}", 0),
        (f"share_network_name={network}", 0),
        ("is_auto_deletable=yes", 1),
        ("is_auto_deletable=false", 0),
        ("created_at=2001-01-01T00:00:00.000000", 0),
        ("updated_at=2001-01-01T00:00:00.000000", 0),
        ("share_network_subnet_ids=other", 0),
        ("security_service_update_support=true", 0),
        ("network_allocation_update_support=true", 0),
        (f"share_network_subnet_id={subnet}", 1),
        (f"source_share_server_id={server}", 0),
        ("task_state=migration_success", 0),
    ):
        listed = admin.get(f"/share-servers?{query}", version="2.73")["share_servers"]
        assert len(listed) == count, query
    assert admin.get("/share-servers?source_share_server_id=x", version="2.56")["share_servers"]


@pytest.mark.parametrize("version", ["2.50", "2.69", "2.73"])
@pytest.mark.parametrize("empty", [None, ""])
def test_a_share_server_is_found_by_all_that_is_shown_of_it(
    admin: Client, database: Database, empty: str | None, version: str
) -> None:
    found = []
    for _ in range(2):
        with database.begin() as connection:
            network = share_networks.create(connection, "blue", "u", name=empty)
            subnet = subnets.create(connection, network)
        found.append(scene.add_server(database, "blue", subnet, identifier=empty))
        with database.begin() as connection:
            share_servers.change(connection, found[-1], is_auto_deletable=len(found) == 1)
    shown = admin.get(f"/share-servers/{found[0]}", version)["share_server"]
    assert (shown["identifier"], shown["share_network_name"]) != (None, None)
    for key, value in shown.items():
        if key == "backend_details" or value is None:
            continue
        query = f"/share-servers?{key}={value[0] if isinstance(value, list) else value}"
        listed = [one["id"] for one in admin.get(query, version)["share_servers"]]
        assert found[0] in listed, query
        is_shared = key in ("project_id", "status", "host") or key.endswith("_support")
        assert is_shared or found[1] not in listed, query
