"""Whatever is sent, the answer is a 4xx with a sentence, never a 5xx, and nothing is made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import HEADER, Client

NASTY: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    1e308,
    "",
    " ",
    "x" * 70_000,
    "\x00",
    "; rm -rf /",
    "$(reboot)",
    "' OR 1=1 --",
    "%s%n{0}",
    "é\U0001f4be",
    "../../etc/passwd",
    [],
    [[]],
    {},
    {"a": {"b": []}},
)
WORDS = ("", "-1", "1e308", "x" * 2000, "\x00", "' OR 1=1 --", "[[]]", "{'a': {}}", "é\U0001f4be")

BODIES: tuple[tuple[str, str, str | None, tuple[str, ...]], ...] = (
    ("POST", "/types", "share_type", ("name", "description", "extra_specs")),
    ("PUT", "/types/TYPE", "share_type", ("name", "description", "share_type_access:is_public")),
    ("POST", "/types/TYPE/extra_specs", None, ("extra_specs",)),
    ("PUT", "/types/TYPE/extra_specs/key", None, ("key",)),
    ("POST", "/types/TYPE/action", None, ("addProjectAccess", "removeProjectAccess", "nonsense")),
    ("POST", "/types/TYPE/action", "addProjectAccess", ("project",)),
    (
        "POST",
        "/share-networks",
        "share_network",
        ("neutron_net_id", "neutron_subnet_id", "nova_net_id", "availability_zone"),
    ),
    ("PUT", "/share-networks/NETWORK", "share_network", ("name", "description", "neutron_net_id")),
    ("POST", "/share-networks/NETWORK/action", "reset_status", ("status",)),
    ("POST", "/share-networks/NETWORK/action", "add_security_service", ("security_service_id",)),
    (
        "POST",
        "/share-networks/NETWORK/subnets",
        "share-network-subnet",
        ("neutron_net_id", "neutron_subnet_id", "availability_zone"),
    ),
    ("POST", "/share-servers/none/action", "reset_status", ("status",)),
    ("PUT", "/quota-sets/blue", "quota_set", ("shares", "gigabytes", "force", "nonsense")),
    ("PUT", "/quota-class-sets/default", "quota_class_set", ("shares", "share_groups")),
    ("PUT", "/services/disable", None, ("host", "binary")),
)

LISTS = (
    "/types",
    "/share-networks/detail",
    "/share-servers",
    "/services",
    "/scheduler-stats/pools/detail",
    "/messages",
    "/projects",
    "/quota-sets/blue",
    "/quota-sets/blue/detail",
    "/limits",
)
PARAMETERS = (
    *("is_public", "extra_specs", "all_tenants", "project_id", "limit", "offset", "marker"),
    *("sort_key", "sort_dir", "created_since", "created_before", "ip_version", "name~", "host"),
    *("share_type", "capabilities", "user_id", "resource_id", "status", "share_network"),
)
ONES = (
    *("/types/{}", "/types/{}/extra_specs", "/types/{}/extra_specs/{}", "/share-networks/{}"),
    *("/share-networks/{}/subnets/{}", "/share-servers/{}", "/share-servers/{}/details"),
    *("/messages/{}", "/projects/{}", "/quota-sets/{}", "/quota-class-sets/{}"),
    "/security-services/{}",
)


@pytest.fixture
def places(admin: Client) -> dict[str, str]:
    share_type = admin.get("/types/default")["share_type"]
    body = {"share_network": {"neutron_net_id": "n", "neutron_subnet_id": "s"}}
    network = admin("POST", "/share-networks", body).json["share_network"]
    return {"TYPE": share_type["id"], "NETWORK": network["id"]}


@pytest.mark.parametrize(("method", "path", "envelope", "fields"), BODIES)
def test_bodies(
    admin: Client,
    places: dict[str, str],
    method: str,
    path: str,
    envelope: str | None,
    fields: tuple[str, ...],
) -> None:
    for name, value in places.items():
        path = path.replace(name, value)
    for field in fields:
        for value in NASTY:
            inside: Any = {field: value}
            body = {envelope: inside} if envelope else inside
            _check(admin(method, path, body), body)
    for body in (*NASTY, *({envelope or "x": value} for value in NASTY)):
        _check(admin(method, path, body), body)
    for raw in (b"{", b"\xff\xfe", b'{"a":"\\ud800"}', b"[" * 100_000, b'{"a":"\\u0000"}'):
        headers = {"X-Auth-Token": admin.token, HEADER: "2.65"}
        result = admin.http.simulate_request(method, f"/v2{path}", headers=headers, body=raw)
        _check(result, raw)


@pytest.mark.parametrize("path", LISTS)
def test_queries(admin: Client, path: str) -> None:
    for name in PARAMETERS:
        for value in WORDS:
            _check(admin("GET", path, params={name: value}), (name, value))


@pytest.mark.parametrize("path", ONES)
def test_ids(admin: Client, path: str) -> None:
    for value in (
        "x" * 3000,
        "%00",
        "%F0%9F%92%BE",
        "%FF",
        "..%2F..",
        "%27%20OR%201=1",
        "%20",
        "-1",
    ):
        for method in ("GET", "DELETE", "PUT", "POST", "PATCH"):
            _check(admin(method, path.format(value, value)), (method, value))


def _check(result: Any, sent: Any) -> None:
    assert result.status_code < 500, (str(sent)[:200], result.text)
    if result.status_code >= 400:
        fault = next(iter(result.json.values()))
        assert fault["code"] == result.status_code
        assert fault["message"].strip()
