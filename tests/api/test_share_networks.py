"""Share networks and subnets through HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from atoll.db import share_networks, subnets
from tests.api import scene
from tests.api.conftest import ApiInProcess, Client

FLAT = {"neutron_net_id", "neutron_subnet_id", "network_type", "segmentation_id", "cidr"}


def make(client: Client, version: str = "2.65", **values: Any) -> dict[str, Any]:
    result = client("POST", "/share-networks", {"share_network": values}, version=version)
    assert result.status_code == 200, result.text
    network: dict[str, Any] = result.json["share_network"]
    return network


def subnet_of(world: ApiInProcess, network: dict[str, Any]) -> str:
    with world.database.read() as connection:
        subnets = share_networks.require(connection, network["id"])["subnets"]
    return str(subnets[0]["id"])


def test_without_neutron_ids_the_network_is_ours_to_make(
    world: ApiInProcess, member: Client
) -> None:
    network = make(member, name="mine")
    assert scene.queued(world.database) == {f"share_network/{network['id']}"}
    with world.database.read() as connection:
        subnet = share_networks.require(connection, network["id"])["subnets"][0]
    assert subnet["managed"] is True
    assert network["share_network_subnets"][0]["neutron_net_id"] is None
    assert network["status"] == "active"


def test_with_neutron_ids_it_is_not(world: ApiInProcess, member: Client) -> None:
    network = make(member, neutron_net_id="net-1", neutron_subnet_id="sub-1")
    with world.database.read() as connection:
        subnet = share_networks.require(connection, network["id"])["subnets"][0]
    assert (subnet["managed"], subnet["neutron_net_id"]) == (False, "net-1")


@pytest.mark.parametrize(
    "values",
    [
        {"neutron_net_id": "net-1"},
        {"neutron_subnet_id": "sub-1"},
        {"neutron_net_id": "; rm -rf /", "neutron_subnet_id": "x"},
        {"neutron_net_id": "$(x)", "neutron_subnet_id": "x"},
        {"neutron_net_id": "", "neutron_subnet_id": ""},
        {"neutron_net_id": "x" * 64 + "\n", "neutron_subnet_id": "x"},
        {"neutron_net_id": ["a"], "neutron_subnet_id": "x"},
        {"nova_net_id": "n"},
        {"name": "x" * 256},
        {"name": 7},
        {"description": {}},
        {"availability_zone": "moon"},
    ],
)
def test_bad_wishes_make_nothing(
    world: ApiInProcess, member: Client, values: dict[str, Any]
) -> None:
    result = member("POST", "/share-networks", {"share_network": values})
    assert result.status_code == 400, result.text
    assert result.json["badRequest"]["message"].endswith(".")
    assert member.get("/share-networks")["share_networks"] == []
    assert scene.queued(world.database) == set()


@pytest.mark.parametrize("body", [None, {}, {"share_network": 1}, {"other": {}}])
def test_no_envelope_is_422(member: Client, body: Any) -> None:
    assert member("POST", "/share-networks", body).status_code == 422


def test_fields_by_version(member: Client) -> None:
    network = make(member, name="mine", neutron_net_id="net-1", neutron_subnet_id="sub-1")
    path = f"/share-networks/{network['id']}"
    flat = member.get(path, version="2.50")["share_network"]
    assert flat.keys() >= FLAT | {"gateway", "mtu"}
    assert flat["neutron_net_id"] == "net-1"
    assert "gateway" not in member.get(path, version="2.17")["share_network"]
    assert "nova_net_id" in member.get(path, version="2.25")["share_network"]
    nested = member.get(path, version="2.51")["share_network"]
    assert not nested.keys() & (FLAT | {"status"})
    assert nested["share_network_subnets"][0]["neutron_subnet_id"] == "sub-1"
    assert member.get(path, version="2.63")["share_network"]["status"] == "active"


def test_lists_filters_and_pages(member: Client) -> None:
    for number in range(3):
        make(member, name=f"net {number}", neutron_net_id=f"n{number}", neutron_subnet_id="s")
    brief = member.get("/share-networks")["share_networks"]
    assert [one["name"] for one in brief] == ["net 0", "net 1", "net 2"]
    assert set(brief[0]) == {"id", "name"}
    for query, names in [
        ("?name=net 1", ["net 1"]),
        ("?name~=net", ["net 0", "net 1", "net 2"]),
        ("?name~=%25", []),
        ("?neutron_net_id=n2", ["net 2"]),
        ("?ip_version=6", []),
        ("?created_before=2001-01-01", []),
        ("?created_since=2001-01-01&limit=1", ["net 0"]),
        ("?limit=1&offset=1", ["net 1"]),
        (f"?limit=2&marker={brief[0]['id']}", ["net 1", "net 2"]),
        ("?security_service_id=x", []),
    ]:
        found = member.get(f"/share-networks/detail{query}")["share_networks"]
        assert [one["name"] for one in found] == names, query
    assert "share_networks_links" in member.get("/share-networks?limit=1")


@pytest.mark.parametrize(
    "query",
    ["ip_version=six", "created_since=yesterday", "limit=-1", "limit=x", "sort_key=secret",
     "marker=none", "all_tenants=perhaps", "name=%00"],
)  # fmt: skip
def test_bad_queries_are_400(member: Client, query: str) -> None:
    assert member("GET", f"/share-networks/detail?{query}").status_code == 400


def test_projects_see_their_own(member: Client, stranger: Client, admin: Client) -> None:
    network = make(member, name="mine")
    path = f"/share-networks/{network['id']}"
    assert stranger("GET", path).status_code == 404
    assert stranger("PUT", path, {"share_network": {"name": "x"}}).status_code == 404
    assert stranger("DELETE", path).status_code == 404
    assert stranger.get("/share-networks")["share_networks"] == []
    assert stranger.get("/share-networks?all_tenants=1") == {"share_networks": []}
    assert stranger("GET", "/share-networks?project_id=blue").status_code == 403
    assert admin.get("/share-networks")["share_networks"] == []
    for query in ("all_tenants=1", "project_id=blue"):
        assert len(admin.get(f"/share-networks?{query}")["share_networks"]) == 1
    assert admin.get(path)["share_network"]["project_id"] == "blue"


def test_readers_only_read(reader: Client, member: Client) -> None:
    network = make(member)
    assert reader("POST", "/share-networks", {"share_network": {}}).status_code == 403
    assert reader("DELETE", f"/share-networks/{network['id']}").status_code == 403
    assert reader.get(f"/share-networks/{network['id']}")


def test_update(world: ApiInProcess, member: Client) -> None:
    network = make(member, name="a", neutron_net_id="n", neutron_subnet_id="s")
    path = f"/share-networks/{network['id']}"
    body: dict[str, Any] = {"name": "b", "neutron_net_id": "n2", "neutron_subnet_id": "s2"}
    result = member("PUT", path, {"share_network": body}, version="2.50")
    assert result.status_code == 200, result.text
    assert result.json["share_network"]["neutron_net_id"] == "n2"
    scene.add_server(world.database, "blue", subnet_of(world, network))
    assert member("PUT", path, {"share_network": body}).status_code == 403
    assert member("PUT", path, {"share_network": {"name": "c"}}).status_code == 200
    assert member.get(path)["share_network"]["name"] == "c"


def put(who: Client, network: dict[str, Any], version: str = "2.51", **values: Any) -> Any:
    path = f"/share-networks/{network['id']}"
    return who("PUT", path, {"share_network": values}, version=version)


def test_a_partial_update_is_checked_against_what_is_there(
    world: ApiInProcess, member: Client
) -> None:
    network = make(member, neutron_net_id="n", neutron_subnet_id="s")
    subnet = network["share_network_subnets"][0]["id"]
    result = put(member, network, neutron_subnet_id="s2")
    assert result.status_code == 200, result.text
    (shown,) = result.json["share_network"]["share_network_subnets"]
    assert (shown["neutron_net_id"], shown["neutron_subnet_id"]) == ("n", "s2")
    assert shown["id"] == subnet
    assert put(member, network, neutron_net_id="n2", version="2.7").json["share_network"][
        "neutron_net_id"
    ] == "n2"  # fmt: skip
    assert put(member, network, foo="a").status_code == 200
    scene.add_server(world.database, "blue", subnet)
    for refused in ({"foo": "a"}, {"neutron_subnet_id": "s3"}):
        assert put(member, network, **refused).status_code == 403
    assert put(member, network, name="new", description=None).status_code == 200


def test_a_network_made_without_ids_gets_some(world: ApiInProcess, member: Client) -> None:
    network = make(member)
    alone = put(member, network, neutron_subnet_id="s")
    assert alone.status_code == 400
    assert "both" in alone.json["badRequest"]["message"]
    moved = put(member, network, neutron_net_id="n", neutron_subnet_id="s")
    assert moved.status_code == 200, moved.text
    (shown,) = moved.json["share_network"]["share_network_subnets"]
    assert (shown["neutron_net_id"], shown["neutron_subnet_id"]) == ("n", "s")
    assert f"share_network/{network['id']}" in scene.queued(world.database)


def test_without_a_default_subnet_it_is_not_clear_what_moves(
    world: ApiInProcess, member: Client
) -> None:
    network = make(member, neutron_net_id="n", neutron_subnet_id="s", availability_zone="nova")
    refused = put(member, network, neutron_net_id="n2", neutron_subnet_id="s2")
    assert refused.status_code == 400
    assert "default" in refused.json["badRequest"]["message"]


def test_with_two_subnets_it_stays(member: Client) -> None:
    network = make(member)
    path = f"/share-networks/{network['id']}"
    more = {"share-network-subnet": {"availability_zone": "nova"}}
    subnet = member("POST", f"{path}/subnets", more).json["share_network_subnet"]["id"]
    refused = member("DELETE", path)
    assert refused.status_code == 409
    assert "more than one subnet" in refused.json["conflictingRequest"]["message"]
    assert member("DELETE", f"{path}/subnets/{subnet}").status_code == 202
    assert member("DELETE", path).status_code == 202


@pytest.mark.parametrize("body", [{"share_network_subnet": {}}, {"share-network-subnet": None}, {}])
def test_a_subnet_without_its_envelope_is_400(member: Client, body: Any) -> None:
    path = f"/share-networks/{make(member)['id']}/subnets"
    result = member("POST", path, body)
    assert result.status_code == 400, result.text
    assert len(member.get(path)["share_network_subnets"]) == 1


def test_what_the_provider_calls_the_network_is_for_administrators(
    world: ApiInProcess, member: Client, admin: Client
) -> None:
    network = make(member, neutron_net_id="n", neutron_subnet_id="s")
    subnet = subnet_of(world, network)
    with world.database.begin() as connection:
        subnets.change(
            connection, subnet, network_type="vxlan", segmentation_id=77, cidr="10.0.0.0/24"
        )
    path = f"/share-networks/{network['id']}"

    def seen(who: Client) -> list[tuple[Any, Any]]:
        flat = who.get(path, version="2.50")["share_network"]
        inside = who.get(path)["share_network"]["share_network_subnets"][0]
        listed = who.get("/share-networks/detail?all_tenants=1", version="2.50")
        alone = who.get(f"{path}/subnets/{subnet}")["share_network_subnet"]
        among = who.get(f"{path}/subnets")["share_network_subnets"][0]
        shown = (flat, inside, listed["share_networks"][0], alone, among)
        assert {row["cidr"] for row in shown} == {"10.0.0.0/24"}
        return [(row["network_type"], row["segmentation_id"]) for row in shown]

    assert seen(member) == [(None, None)] * 5
    assert seen(admin) == [("vxlan", 77)] * 5
    for query, finds in (
        ("network_type=flat", 0),
        ("network_type=vxlan", 1),
        ("segmentation_id=78", 0),
        ("segmentation_id=77", 1),
    ):
        assert member.get(f"/share-networks?{query}")["share_networks"] == []
        found = admin.get(f"/share-networks?all_tenants&{query}")["share_networks"]
        assert len(found) == finds


def test_delete_hides_it_at_once(world: ApiInProcess, member: Client) -> None:
    network = make(member)
    path = f"/share-networks/{network['id']}"
    assert member("DELETE", path).status_code == 202
    assert f"share_network/{network['id']}" in scene.queued(world.database)
    for hidden in (path, f"{path}/subnets"):
        assert member("GET", hidden).status_code == 404
    assert member("DELETE", path).status_code == 404
    assert member.get("/share-networks")["share_networks"] == []
    assert member.get("/limits")["limits"]["absolute"]["totalShareNetworksUsed"] == 0


def test_delete_is_refused_while_shares_use_it(world: ApiInProcess, member: Client) -> None:
    network = make(member)
    scene.add_share(world.database, "blue", share_network_id=network["id"], status="creating")
    result = member("DELETE", f"/share-networks/{network['id']}")
    assert result.status_code == 409
    assert "1 share(s)" in result.json["conflictingRequest"]["message"]
    subnet = network["share_network_subnets"][0]["id"]
    path = f"/share-networks/{network['id']}/subnets/{subnet}"
    assert member("DELETE", path).status_code == 409


def test_a_share_and_the_networks_end_never_both_come_true(member: Client) -> None:
    wish = {"size": 1, "share_proto": "NFS"}
    for _ in range(8):
        network = make(member)["id"]
        body = {"share": {**wish, "share_network_id": network}}
        with ThreadPoolExecutor(2) as pool:
            made = pool.submit(member, "POST", "/shares", body)
            gone = pool.submit(member, "DELETE", f"/share-networks/{network}")
        codes = made.result().status_code, gone.result().status_code
        assert codes in ((200, 409), (404, 202)), codes


def test_subnets(world: ApiInProcess, member: Client, stranger: Client) -> None:
    network = make(member, name="mine", availability_zone="")
    path = f"/share-networks/{network['id']}/subnets"
    again = member("POST", path, {"share-network-subnet": {}})
    assert again.status_code == 409, again.text
    body = {"availability_zone": "nova", "neutron_net_id": "n", "neutron_subnet_id": "s"}
    made = member("POST", path, {"share-network-subnet": body})
    assert made.status_code == 200, made.text
    subnet = made.json["share_network_subnet"]
    assert (subnet["availability_zone"], subnet["share_network_name"]) == ("nova", "mine")
    assert len(member.get(path)["share_network_subnets"]) == 2
    assert member.get(f"{path}/{subnet['id']}")["share_network_subnet"] == subnet
    assert stranger("GET", f"{path}/{subnet['id']}").status_code == 404
    assert member("GET", path, version="2.50").status_code == 404
    assert member("DELETE", f"{path}/{subnet['id']}").status_code == 202
    assert member("GET", f"{path}/{subnet['id']}").status_code == 404
    assert len(member.get(f"/share-networks/{network['id']}")["share_network"]
               ["share_network_subnets"]) == 1  # fmt: skip
    for everywhere in ("", None):  # there is a subnet for all zones already
        answer = member("POST", path, {"share-network-subnet": {"availability_zone": everywhere}})
        assert answer.status_code == 409, answer.text
    bad = {"share-network-subnet": {"availability_zone": "moon"}}
    assert member("POST", path, bad).status_code == 400


def test_reset_status_is_for_administrators(member: Client, admin: Client) -> None:
    network = make(member)
    path = f"/share-networks/{network['id']}"
    reset = {"reset_status": {"status": "error"}}
    assert member("POST", f"{path}/action", reset).status_code == 403
    assert admin("POST", f"{path}/action", reset).status_code == 202
    assert member.get(path)["share_network"]["status"] == "error"
    bad = {"reset_status": {"status": "deleting"}}
    assert admin("POST", f"{path}/action", bad).status_code == 400


def test_there_are_no_security_services(member: Client) -> None:
    network = make(member)
    action = {"add_security_service": {"security_service_id": "x"}}
    result = member("POST", f"/share-networks/{network['id']}/action", action)
    assert result.status_code == 400
    assert "no security services" in result.json["badRequest"]["message"]
    assert member.get("/security-services/detail") == {"security_services": []}
    assert member.get("/security-services") == {"security_services": []}
    assert member("GET", "/security-services/x").status_code == 404
    assert member("POST", "/security-services", {"security_service": {}}).status_code == 400


def test_share_networks_are_limited(member: Client, admin: Client) -> None:
    limit = {"quota_set": {"share_networks": 1}}
    assert admin("PUT", "/quota-sets/blue", limit).status_code == 200
    make(member)
    result = member("POST", "/share-networks", {"share_network": {}})
    assert result.status_code == 413
    assert result.headers["retry-after"] == "0"
    assert "share_networks" in result.json["overLimit"]["message"]
