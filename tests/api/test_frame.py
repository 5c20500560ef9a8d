"""Versions, authentication, paths, faults: what holds for every route."""

from __future__ import annotations

import pytest

from atoll.api import versions
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
