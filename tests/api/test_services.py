"""Services, pools, zones, extensions, projects: what a deployment is made of."""

from __future__ import annotations

import pytest

from atoll.db import services
from tests.api.conftest import ApiInProcess, Client

POOL = {
    "name": "here@memory#fast",
    "capabilities": {
        "total_capacity_gb": 100.0,
        "driver_handles_share_servers": True,
        "snapshot_support": True,
    },
}


def beat(world: ApiInProcess, host: str = "here@memory", age: float = 0.0) -> None:
    with world.database.begin() as connection:
        now = world.database.now(connection) - age
        services.heartbeat(connection, "manila-share", host, now, zone="nova", pools=[POOL])


def test_services_are_up_while_their_heart_beats(world: ApiInProcess, admin: Client) -> None:
    beat(world)
    beat(world, "there@memory", age=300)
    listed = admin.get("/services?binary=manila-share")["services"]
    assert {one["host"]: one["state"] for one in listed} == {
        "here@memory": "up",
        "there@memory": "down",
    }
    assert admin.get("/services?state=down")["services"][0]["status"] == "enabled"
    assert admin.get("/os-services", version="2.6")["services"]
    assert admin("GET", "/services", version="2.6").status_code == 404


def test_disable_and_enable(world: ApiInProcess, admin: Client, member: Client) -> None:
    beat(world)
    which = {"host": "here@memory", "binary": "manila-share"}
    result = admin("PUT", "/services/disable", which)
    assert result.json == {**which, "disabled": True, "status": "disabled"}
    beat(world)
    assert admin.get("/services?status=disabled")["services"][0]["host"] == "here@memory"
    assert admin.get("/scheduler-stats/pools")["pools"] == []
    assert admin("PUT", "/services/enable", which).status_code == 200
    assert admin.get("/services?status=disabled")["services"] == []
    nobody = {"host": "moon", "binary": "manila-share"}
    assert admin("PUT", "/services/disable", nobody).status_code == 404
    assert admin("PUT", "/services/disable", {"host": 5}).status_code == 400
    assert admin("PUT", "/services/explode", which).status_code == 404
    assert member("PUT", "/services/disable", which).status_code == 403
    assert member("GET", "/services").status_code == 403


def test_pools(world: ApiInProcess, admin: Client, member: Client) -> None:
    beat(world)
    beat(world, "there@memory", age=300)
    brief = {"name": "here@memory#fast", "host": "here", "backend": "memory", "pool": "fast"}
    assert admin.get("/scheduler-stats/pools") == {"pools": [brief]}
    detail = admin.get("/scheduler-stats/pools/detail")["pools"][0]
    assert detail == {**brief, "capabilities": POOL["capabilities"]}
    for query, count in [
        ("?pool=fast", 1),
        ("?name=nope", 0),
        ("?name=here", 1),
        ("?name=here@memory%23fast", 1),
        ("?name=.*%23(slow|fast)$", 1),
        ("?name=memory", 0),
        ("?backend=mem.*", 1),
        ("?backend=emory", 0),
        ("?host=moon", 0),
        ("?capabilities={'total_capacity_gb': '>= 100'}", 1),
        ("?capabilities={'total_capacity_gb': '>= 101'}", 0),
        ("?capabilities={'capabilities:snapshot_support': '<is>True'}", 1),
        ("?capabilities={'vendor:tier': 'gold'}", 1),
        ("?capabilities={'dedupe': 'False'}", 0),
        ("?share_type=default", 0),
        ("?capabilities={'snapshot_support': 'true'}", 1),
        ("?capabilities={'snapshot_support': False}", 0),
    ]:
        assert len(admin.get(f"/scheduler-stats/pools{query}")["pools"]) == count, query
    for bad in (
        "?host=(",
        "?share_type=none",
        "?capabilities=x",
        "?name=(.*)*x",
        "?name=(.|.){99}x",
        "?name=" + "(|)" * 60 + "x",
        "?name=" + ".*" * 60 + "x",
    ):
        assert admin("GET", f"/scheduler-stats/pools{bad}").status_code == 400
    assert member("GET", "/scheduler-stats/pools").status_code == 403


def test_availability_zones(member: Client) -> None:
    zones = member.get("/availability-zones")["availability_zones"]
    assert [one["name"] for one in zones] == ["nova"]
    assert zones == member.get("/os-availability-zone", version="2.6")["availability_zones"]
    assert member("GET", "/os-availability-zone", version="2.7").status_code == 404


def test_there_are_no_extensions(member: Client) -> None:
    assert member.get("/extensions") == {"extensions": []}


def test_projects_are_found_by_id_and_by_name(admin: Client) -> None:
    shown = admin.get("/projects/blue")["project"]
    assert (shown["id"], shown["name"], shown["enabled"]) == ("blue", "blue", True)
    assert len(admin.get("/projects")["projects"]) == 3
    assert [one["id"] for one in admin.get("/projects?name=red")["projects"]] == ["red"]
    assert admin.get("/projects?name=none")["projects"] == []
    assert admin("GET", "/projects/none").status_code == 404


@pytest.mark.parametrize("query", ["", "?name=blue"])
def test_a_project_knows_only_itself(member: Client, query: str) -> None:
    assert [one["id"] for one in member.get(f"/projects{query}")["projects"]] == ["blue"]
    assert member("GET", "/projects/red").status_code == 404
    assert member.get("/projects?name=red")["projects"] == []


def test_pools_know_no_share_type_before_2_23(admin: Client) -> None:
    path = "/scheduler-stats/pools?share_type=none"
    everything = admin.get("/scheduler-stats/pools", version="2.22")
    assert admin.get(path, version="2.22") == everything
    assert admin("GET", path, version="2.23").status_code == 400
