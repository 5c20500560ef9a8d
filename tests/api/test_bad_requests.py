"""Requests that no honest client sends: always a 4xx with a sentence, never a 5xx."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from falcon.testing import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from atoll.api.app import RESOURCES, create_app
from atoll.api.frame import versions
from atoll.config import Settings
from atoll.db.database import Database
from tests.api.conftest import HEADER, ApiInProcess, Client
from tests.api.scene import add_share, add_snapshot

DEEP = "[" * 100_000 + "]" * 100_000


def fault_of(result: Any) -> dict[str, Any]:
    (fault,) = result.json.values()
    assert fault["code"] == result.status_code
    assert fault["message"]
    return dict(fault)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", 422),
        (b"   ", 422),
        (b"{}", 422),
        (b"[]", 422),
        (b"null", 422),
        (b'{"share": null}', 422),
        (b'{"share": []}', 422),
        (b'{"share": "x"}', 422),
        (b"{", 400),
        (b"not json", 400),
        (b'{"share": {"size": NaN}}', 400),
        (b'{"share": {"name": "\xff\xfe"}}', 400),
        (b'{"share": {"name": "\\ud800"}}', 400),
        (b'{"share": {"name": "\\u0000"}}', 400),
        (b'{"share": {"size": 1e400}}', 400),
        (DEEP.encode()[:100_000], 400),
        (b'{"a":' * 15_000 + b"1" + b"}" * 15_000, 400),
        (b'{"share": {"name": "' + b"x" * 200_000 + b'"}}', 413),
    ],
)
def test_bodies(member: Client, raw: bytes, code: int) -> None:
    result = member("POST", "/shares", raw=raw)
    assert result.status_code == code, result.text
    fault_of(result)


def test_a_backslash_before_a_nul_escape_is_no_nul(member: Client, database: Database) -> None:
    share_id = add_share(database, "blue")
    raw = rb'{"share": {"display_name": "a\\u0000"}}'
    assert member("PUT", f"/shares/{share_id}", raw=raw).status_code == 200
    assert member("PUT", f"/shares/{share_id}", raw=raw.replace(b"a", b"a\\")).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/shares/none-such", 404),
        ("GET", "/shares/" + "x" * 2000, 404),
        ("GET", "/shares/%00", 400),
        ("GET", "/shares/%ff%fe", 404),
        ("GET", "/shares/..%2f..%2fetc", 404),
        ("GET", "/shares/%3B%20rm%20-rf%20%2F", 404),
        ("PATCH", "/shares", 404),
        ("DELETE", "/shares", 404),
        ("GET", "/shares/a/action", 404),
        ("POST", "/shares/manage", 404),
        ("POST", "/snapshots/manage", 404),
        ("POST", "/share-servers/manage", 404),
        ("DELETE", "/share-groups/none-such", 404),
        ("PUT", "/security-services/none-such", 404),
        ("GET", "/shares/a/b/c/d", 404),
    ],
)
def test_paths(member: Client, method: str, path: str, code: int) -> None:
    result = member(method, path)
    assert result.status_code == code
    fault_of(result)
    assert result.headers[HEADER] == "2.65"


@pytest.mark.parametrize(
    "path",
    ["/v2//shares", "//v2/shares", "/v2/blue/shares", "/v2/blue//shares/", "/v2/shares/"],
)
def test_paths_of_old_clients(member: Client, path: str) -> None:
    headers = {"X-Auth-Token": member.token}
    result = member.http.simulate_get(path, headers=headers)
    assert result.status_code == 200
    assert result.json == {"shares": []}


def test_the_urls_project_must_be_the_tokens(member: Client) -> None:
    headers = {"X-Auth-Token": member.token}
    result = member.http.simulate_get("/v2/red/shares", headers=headers)
    assert result.status_code == 400
    assert "project" in fault_of(result)["message"]


def test_a_defect_of_ours_tells_the_request_id_and_nothing_else(
    world: ApiInProcess, member: Client, database: Database
) -> None:
    member.get("/shares")
    share_id = add_share(database, "blue")
    rename = "ALTER TABLE {} RENAME TO {}"
    with database.begin() as connection:
        connection.exec_driver_sql(rename.format("export_locations", "elsewhere"))
    result = member("GET", f"/shares/{share_id}/export_locations")
    with database.begin() as connection:
        connection.exec_driver_sql(rename.format("elsewhere", "export_locations"))
    assert result.status_code in (500, 503)
    fault = fault_of(result)
    assert "Traceback" not in result.text
    assert "export_locations" not in result.text
    if result.status_code == 500:
        assert result.headers["x-compute-request-id"] in fault["message"]


def test_health_and_metrics(settings: Settings, database: Database) -> None:
    world = ApiInProcess(database, settings, TestClient(create_app(settings, database)))
    member = world.client("blue", "member")
    member.get("/shares")
    member("GET", "/shares/none-such")
    health = world.http.simulate_get("/healthcheck")
    assert health.status_code == 200
    assert health.json["worker"] == "up"
    text = world.http.simulate_get("/metrics").text
    assert 'atoll_api_requests_total{code="200",method="GET",route="/v2/shares"} 1.0' in text
    assert 'route="/v2/shares/{share_id}"' in text
    assert "none-such" not in text


def test_unhealthy_without_a_worker(world: ApiInProcess) -> None:
    with world.database.begin() as connection:
        connection.exec_driver_sql("UPDATE services SET heartbeat = 0")
    health = world.http.simulate_get("/healthcheck")
    assert health.status_code == 503
    assert health.json["worker"] == "down"


ROUTES = sorted(
    {
        (method, path)
        for module in RESOURCES
        for path, methods in module.routes.methods.items()
        for method in methods
    }
    | {("POST", f"{path}/action") for module in RESOURCES for path in module.routes.actions}
)
ACTIONS = sorted({name for m in RESOURCES for a in m.routes.actions.values() for name in a})
ENVELOPES = ["share", "snapshot", "metadata", "share_type", "share_network", "quota_set", *ACTIONS]
KEYS = [
    "name",
    "size",
    "new_size",
    "share_proto",
    "share_id",
    "share_network_id",
    "snapshot_id",
    "metadata",
    "access_type",
    "access_to",
    "access_id",
    "status",
    "extra_specs",
    "neutron_net_id",
    "is_public",
    "project",
    "gigabytes",
    "disabled",
    "host",
    "binary",
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["NFS", "ip", "10.0.0.1", "10.0.0.0/8", "default", "a" * 300, "1", "error"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(KEYS), values, max_size=6)
bodies = st.one_of(
    st.none(), values, objects, st.dictionaries(st.sampled_from(ENVELOPES), objects, max_size=1)
)
PARAMS = ["limit", "offset", "marker", "sort_key", "sort_dir", "name~", "metadata", "is_public"]
queries = st.dictionaries(
    st.sampled_from([*PARAMS, "share_id", "status", "created_since", "all_tenants", "extra_specs"]),
    st.text(max_size=12) | st.sampled_from(["1", "true", "{'a': 'b'}", "2026-01-01", "name"]),
    max_size=3,
)


@hypothesis_settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    route=st.sampled_from(ROUTES),
    body=bodies,
    query=queries,
    version=st.integers(0, versions.HIGHEST),
    real=st.booleans(),
    as_admin=st.booleans(),
    word=st.text(min_size=1, max_size=8),
)
def test_nothing_makes_it_fail(
    member: Client,
    admin: Client,
    database: Database,
    route: tuple[str, str],
    body: Any,
    query: dict[str, str],
    version: int,
    real: bool,
    as_admin: bool,
    word: str,
) -> None:
    method, path = route
    share_id = add_share(database, "blue")
    known = {"share_id": share_id, "resource_id": share_id}
    if "{snapshot_id}" in path:
        known["snapshot_id"] = add_snapshot(database, "blue", share_id, 1)
    for part in path.split("/"):
        if part.startswith("{"):
            value = known.get(part.strip("{}"), "default") if real else word
            path = path.replace(part, quote(value, safe="", errors="surrogatepass"))
    who = admin if as_admin else member
    raw = b"" if body is None else json.dumps(body).encode("utf-8", "surrogatepass")
    result = who(method, path, raw=raw, params=query, version=f"2.{version}")
    assert result.status_code < 500, (method, path, body, query, result.text)
    if result.status_code >= 400:
        fault_of(result)
