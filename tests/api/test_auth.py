"""Tokens, roles, the policy file, and the mode without authentication."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import msgspec
import pytest
from falcon.testing import TestClient

from atoll.api.app import create_app
from atoll.api.auth import token as token_auth
from atoll.api.frame import policy
from atoll.config import Api, Settings
from atoll.db import tokens
from atoll.db.database import Database
from atoll.errors import ConfigurationError
from tests.api.conftest import ApiInProcess, Client
from tests.api.scene import add_share


def with_api(settings: Settings, **options: object) -> Settings:
    return msgspec.structs.replace(settings, api=msgspec.convert(options, Api))


def test_a_revoked_token_is_forgotten(
    world: ApiInProcess, member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_auth, "REMEMBERED_SECONDS", 0.0)
    member.get("/shares")
    with world.database.begin() as connection:
        tokens.revoke(connection, "of blue")
    assert member("GET", "/shares").status_code == 401


def test_an_expired_token(world: ApiInProcess) -> None:
    with world.database.begin() as connection:
        old = tokens.create(
            connection, "old", "blue", "u", ("member",), expires_at="2020-01-01T00:00:00.000000"
        )
    assert Client(world.http, old, "blue")("GET", "/shares").status_code == 401


def test_without_a_database_nobody_can_say_whose_a_token_is(settings: Settings) -> None:
    http = TestClient(create_app(settings, Database("sqlite:////nonexistent/atoll.db")))
    answer = Client(http, "some token", "blue")("GET", "/shares")
    assert answer.status_code == 503
    assert "database" in answer.json["serviceUnavailable"]["message"]
    assert answer.headers["retry-after"] == "5"


def test_identity_headers_of_the_client_count_nothing(member: Client, database: Database) -> None:
    add_share(database, "red")
    spoofed = {"X-Project-Id": "red", "X-Roles": "admin", "X-Identity-Status": "Confirmed"}
    answer = member.get("/shares?all_tenants=1", headers=spoofed)
    assert answer == {"shares": []}


def test_the_policy_file_overrides_and_takes_effect_when_it_changes(
    world: ApiInProcess,
    database: Database,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy, "_RELOAD_SECONDS", 0.0)
    times = itertools.count(1_000_000_000)
    file = tmp_path / "policy.yaml"
    file.write_text('"share:get_all": "role:admin"\n')
    os.utime(file, (0, next(times)))
    app = create_app(with_api(settings, policy_file=file), database)
    member, admin = world.client("blue", "member"), world.client("ops", "admin")
    restricted = Client(TestClient(app), member.token, "blue")
    assert restricted("GET", "/shares").status_code == 403
    assert restricted("GET", "/snapshots").status_code == 200
    assert Client(TestClient(app), admin.token, "ops")("GET", "/shares").status_code == 200
    for text, code in (
        ('"share:get_all": "role:member"\n', 200),
        ("{unclosed", 200),  # what can't be read changes nothing
        ('"share:get_all": "role:admin"  # again\n', 403),
    ):
        file.write_text(text)
        os.utime(file, (0, next(times)))
        assert restricted("GET", "/shares").status_code == code, text


def test_owner_rules_look_at_the_row(
    world: ApiInProcess, database: Database, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"share:delete": "user_id:%(user_id)s"\n')
    app = create_app(with_api(settings, policy_file=file), database)
    member = Client(TestClient(app), world.client("blue", "member").token, "blue")
    mine = add_share(database, "blue", user_id="blue-user")
    colleagues = add_share(database, "blue", user_id="another")
    assert member("DELETE", f"/shares/{colleagues}").status_code == 403
    assert member("DELETE", f"/shares/{mine}").status_code == 202


@pytest.mark.parametrize("text", [None, '"share:get_all": [unclosed', '"share:get": "role:"role"'])
def test_a_broken_policy_file_is_told_at_start(
    database: Database, settings: Settings, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "policy.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"policy\.yaml"):
        create_app(with_api(settings, policy_file=file), database)


@pytest.mark.parametrize(
    ("address", "code"),
    [("127.0.0.1", 200), ("::1", 200), ("127.9.9.9", 200), ("10.0.0.5", 401), ("x", 401)],
)
def test_without_authentication_only_this_machine_is_served(
    database: Database, settings: Settings, address: str, code: int
) -> None:
    http = TestClient(create_app(with_api(settings, auth_strategy="none"), database))
    environ = {"REMOTE_ADDR": address}
    result = http.simulate_get("/v2/services", host="localhost", extras=environ)
    assert result.status_code in ((404,) if code == 200 else (401,))
    newer = {"X-OpenStack-Manila-API-Version": "2.7"}
    result = http.simulate_get("/v2/services", host="localhost", headers=newer, extras=environ)
    assert result.status_code == code


LOCAL = {"REMOTE_ADDR": "127.0.0.1"}
TYPE = {"share_type": {"name": "t", "extra_specs": {"driver_handles_share_servers": "True"}}}


@pytest.fixture
def open_api(database: Database, settings: Settings) -> TestClient:
    chosen = with_api(settings, auth_strategy="none", public_url="https://shares.example:8443/x")
    return TestClient(create_app(chosen, database))


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost", 200),
        ("LOCALHOST:8786", 200),
        ("127.0.0.1:8786", 200),
        ("[::1]:8786", 200),
        ("[::1]", 200),
        ("shares.example", 200),  # api.public_url names it
        ("rebound.attacker.example:8786", 403),
        ("localhost.attacker.example", 403),
        ("127.0.0.1.attacker.example", 403),
        ("attacker.example@localhost", 403),
        ("10.0.0.5:8786", 403),
        ("0.0.0.0:8786", 403),
        (" ", 403),
    ],
)
def test_without_authentication_only_this_machines_names_are_served(
    open_api: TestClient, host: str, code: int
) -> None:
    """The name of a page's host can be made to lead to this machine; it stays in the request."""
    answer = open_api.simulate_get("/v2/shares", headers={"Host": host}, extras=LOCAL)
    assert answer.status_code == code


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://localhost:8786", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://shares.example:8443"}, 200),
        ({"Origin": "https://attacker.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),  # another program's page on this machine
        ({"Origin": "http://localhost:8786.attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 403),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 403),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 403),
        ({"Content-Type": "text/plain; application/json"}, 403),
        ({"Content-Type": ""}, 403),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, 200),
    ],
)
def test_without_authentication_pages_of_other_sites_are_refused(
    open_api: TestClient, headers: dict[str, str], code: int
) -> None:
    """What a page on this machine's browser can send without asking first is no administrator's."""
    wanted = {"Content-Type": "application/json", "X-OpenStack-Manila-API-Version": "2.51"}
    answer = open_api.simulate_post(
        "/v2/types",
        headers={"Host": "localhost:8786", **wanted, **headers},
        body=json.dumps(TYPE),
        extras=LOCAL,
    )
    assert answer.status_code == code, answer.text
    seen = open_api.simulate_get("/v2/types", headers={"Host": "localhost"}, extras=LOCAL)
    assert ("t" in [each["name"] for each in seen.json["share_types"]]) == (code == 200)


def test_a_body_in_chunks_is_a_body(open_api: TestClient) -> None:
    headers = {"Host": "localhost", "Content-Type": "text/plain", "Transfer-Encoding": "chunked"}
    extras = {**LOCAL, "CONTENT_LENGTH": ""}
    answer = open_api.simulate_post("/v2/types", headers=headers, extras=extras)
    assert answer.status_code == 403
