"""Versions, authentication, paths, faults: what holds for every route."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from falcon.testing import TestClient

from atoll.api.app import create_app
from atoll.api.frame import versions
from atoll.api.frame.bodies import Versions, convert, since
from atoll.api.frame.filters import Filters, filter_by
from atoll.api.frame.routing import Routes, Table
from atoll.api.frame.views import View, field
from atoll.config import Api
from atoll.db.tables import services
from atoll.errors import ConfigurationError, Invalid
from atoll.model.records import Share
from tests.api.conftest import HEADER, ApiInProcess, Client


class Chosen(msgspec.Struct):
    chosen: bool | None = msgspec.field(name="a:chosen", default=None)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *((word, True) for word in ("y", "YES", "t", "True", "on", "1", 1, True, " yes ")),
        *((word, False) for word in ("n", "No", "f", "FALSE", "off", "0", 0, False)),
        (None, None),
    ],
)
def test_booleans_in_bodies_are_said_in_any_of_manilas_words(
    value: object, said: bool | None
) -> None:
    assert convert({"a:chosen": value}, Chosen).chosen is said


@pytest.mark.parametrize("value", ["perhaps", "", 2, "yes!", []])
def test_other_words_are_no_booleans(value: object) -> None:
    with pytest.raises(Invalid, match="a:chosen"):
        convert({"a:chosen": value}, Chosen)


def test_root_lists_versions_without_a_token(world: ApiInProcess) -> None:
    result = world.http.simulate_get("/")
    assert result.status_code == 300
    assert result.json["versions"][0]["version"] == versions.text(versions.HIGHEST)


def test_v2_redirects_and_shows_its_version(world: ApiInProcess) -> None:
    redirect = world.http.simulate_get("/v2")
    assert redirect.status_code == 302
    assert redirect.headers["location"].endswith("/v2/")
    result = world.http.simulate_get("/v2/")
    assert result.status_code == 200
    assert [one["id"] for one in result.json["versions"]] == ["v2.0"]


def test_where_a_public_url_is_set_no_host_changes_a_link(world: ApiInProcess) -> None:
    url = "https://cloud.example/shares"
    settings = msgspec.structs.replace(world.settings, api=Api(public_url=url + "/"))
    http = TestClient(create_app(settings, world.database))
    headers = {"Host": "evil.example"}
    assert http.simulate_get("/v2", headers=headers).headers["location"] == f"{url}/v2/"
    for path in ("/", "/v2/"):
        links = http.simulate_get(path, headers=headers).json["versions"][0]["links"]
        assert f"{url}/v2/" in [link["href"] for link in links]


@pytest.mark.parametrize("host", ["a b", "x/y", "user@x", "x:y", "x?", "[::1", ""])
def test_a_malformed_host_is_400(world: ApiInProcess, host: str) -> None:
    assert world.http.simulate_get("/v2", headers={"Host": host}).status_code == 400


def test_a_probe_can_fail(world: ApiInProcess) -> None:
    assert world.http.simulate_options("/healthcheck").status_code == 200
    with world.database.begin() as connection:
        connection.execute(services.delete())  # no worker
    for method in ("GET", "HEAD", "OPTIONS"):
        assert world.http.simulate_request(method, "/healthcheck").status_code == 503


@pytest.mark.parametrize("token", [None, "", "wrong", "x" * 600, "é"])
def test_without_a_valid_token_is_401(world: ApiInProcess, token: str | None) -> None:
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


EXPERIMENTAL = "X-OpenStack-Manila-API-Experimental"


def test_an_experimental_route_needs_the_header_and_echoes_it(member: Client) -> None:
    for path, experimental, stable in (
        ("/share-groups", "2.54", "2.55"),
        ("/share-replicas", "2.55", "2.56"),
    ):
        assert member("GET", path, version=experimental).status_code == 404
        asked = member("GET", path, version=experimental, headers={EXPERIMENTAL: "True"})
        assert asked.status_code == 200
        assert asked.headers[EXPERIMENTAL.lower()] == "True"
        without = member("GET", path, version=stable)
        assert without.status_code == 200
        assert EXPERIMENTAL.lower() not in without.headers


def test_two_routes_for_the_same_request_are_an_error_at_start() -> None:
    routes = Routes()
    routes.get("/things", policy=None, until="2.7")(lambda call: None)
    routes.get("/things", policy=None, since="2.7")(lambda call: None)
    handlers = routes.methods["/things"]["GET"]
    with pytest.raises(ConfigurationError, match=r"GET /things is declared twice .* 2\.7"):
        Table("GET /things", handlers)


def test_a_gap_between_two_routes_is_an_error_at_start() -> None:
    routes = Routes()
    routes.get("/things", policy=None, since="2.4", until="2.6")(lambda call: None)
    routes.get("/things", policy=None, since="2.8")(lambda call: None)
    handlers = routes.methods["/things"]["GET"]
    with pytest.raises(ConfigurationError, match=r"GET /things is not declared for .* 2\.7"):
        Table("GET /things", handlers)
    Table("GET /things", handlers[:1])
    Table("GET /things", handlers[1:])


def test_a_column_that_a_record_does_not_have_is_an_error_at_start() -> None:
    with pytest.raises(ConfigurationError, match="staus, which is not in Share"):
        View(Share, field("staus"))
    with pytest.raises(ConfigurationError, match="staus, which is not in Share"):
        Filters(Share, filter_by("staus"))


class _Inner(msgspec.Struct):
    old: str = ""
    new: Annotated[str, since("2.67")] = ""


class _Outer(msgspec.Struct):
    inner: Annotated[_Inner | None, since("2.65")] = None
    text: Annotated[str, since("2.41", refusal="text needs 2.41")] = ""


def test_fields_of_a_body_exist_from_a_version_on() -> None:
    fields, body = Versions.of(_Outer), {"inner": {"old": "a", "new": "b"}, "other": 1}
    assert fields.known(body, 64) == {"other": 1}
    assert fields.known(body, 66) == {"inner": {"old": "a"}, "other": 1}
    assert fields.known(body, 67) == body
    assert fields.known({"text": ""}, 40) == {}
    with pytest.raises(Invalid, match=r"text needs 2\.41"):
        fields.known({"text": "a"}, 40)
