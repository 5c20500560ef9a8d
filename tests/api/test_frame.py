"""Versions, authentication, paths, faults: what holds for every route."""

from __future__ import annotations

import msgspec
import pytest
from falcon.testing import TestClient

from atoll.api.app import create_app
from atoll.api.frame import versions
from atoll.config import Api
from atoll.db.tables import services
from tests.api.conftest import HEADER, Client, World


def test_root_lists_versions_without_a_token(world: World) -> None:
    result = world.http.simulate_get("/")
    assert result.status_code == 300
    assert result.json["versions"][0]["version"] == versions.text(versions.HIGHEST)


def test_v2_redirects_and_shows_its_version(world: World) -> None:
    redirect = world.http.simulate_get("/v2")
    assert redirect.status_code == 302
    assert redirect.headers["location"].endswith("/v2/")
    result = world.http.simulate_get("/v2/")
    assert result.status_code == 200
    assert [one["id"] for one in result.json["versions"]] == ["v2.0"]


def test_where_a_public_url_is_set_no_host_changes_a_link(world: World) -> None:
    url = "https://cloud.example/shares"
    settings = msgspec.structs.replace(world.settings, api=Api(public_url=url + "/"))
    http = TestClient(create_app(settings, world.database))
    headers = {"Host": "evil.example"}
    assert http.simulate_get("/v2", headers=headers).headers["location"] == f"{url}/v2/"
    for path in ("/", "/v2/"):
        links = http.simulate_get(path, headers=headers).json["versions"][0]["links"]
        assert f"{url}/v2/" in [link["href"] for link in links]


@pytest.mark.parametrize("host", ["a b", "x/y", "user@x", "x:y", "x?", "[::1", ""])
def test_a_malformed_host_is_400(world: World, host: str) -> None:
    assert world.http.simulate_get("/v2", headers={"Host": host}).status_code == 400


def test_a_probe_can_fail(world: World) -> None:
    assert world.http.simulate_options("/healthcheck").status_code == 200
    with world.database.begin() as connection:
        connection.execute(services.delete())  # no worker
    for method in ("GET", "HEAD", "OPTIONS"):
        assert world.http.simulate_request(method, "/healthcheck").status_code == 503


@pytest.mark.parametrize("token", [None, "", "wrong", "x" * 600, "é"])
def test_without_a_valid_token_is_401(world: World, token: str | None) -> None:
    headers = {} if token is None else {"X-Auth-Token": token}
    headers["X-Project-Id"] = "blue"
    headers["X-Roles"] = "admin"
    result = world.http.simulate_get("/v2/shares/detail", headers=headers)
    assert result.status_code == 401
    assert result.json["unauthorized"]["code"] == 401
    assert result.headers["x-compute-request-id"].startswith("req-")


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("2.0", 200),
        ("2.73", 200),
        ("latest", 400),
        ("2", 400),
        ("2.", 400),
        ("2.07", 400),
        ("2.٣", 400),
        ("two", 400),
        ("2.999", 406),
        ("3.0", 406),
        ("1.0", 406),
    ],
)
def test_version_negotiation(member: Client, version: str, code: int) -> None:
    result = member("GET", "/shares", version=version)
    assert result.status_code == code
    if code == 200:
        assert result.headers[HEADER] == version
        assert result.headers["vary"] == HEADER
    else:
        fault = result.json["badRequest" if code == 400 else "computeFault"]
        assert fault["code"] == code
        assert fault["message"]
