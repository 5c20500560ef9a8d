"""An API with Keystone in front: who gets in, and what they see and may do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from falcon.testing import TestClient

pytest.importorskip("keystonemiddleware", reason="the extra [openstack] is not installed")

from atoll.api.app import create_app
from atoll.api.auth import keystone as keystone_auth
from atoll.cli import catalog
from atoll.config import Settings
from atoll.db.database import Database
from tests.api import keystones
from tests.api.conftest import ApiInProcess, Client
from tests.api.keystones import Credentials, Keystone
from tests.api.scene import add_share

keystone = keystones.keystone
pytestmark = pytest.mark.filterwarnings("ignore")
SENTENCE = "The request you have made requires authentication."


@pytest.fixture
def settings(keystone: Keystone, tmp_path: Path) -> Settings:
    return keystone.settings(tmp_path)


@pytest.fixture
def http(settings: Settings, database: Database) -> TestClient:
    return TestClient(create_app(settings, database))


@pytest.fixture
def enter(http: TestClient) -> Callable[[Credentials], Client]:
    """A client with a fresh token of these credentials."""
    return lambda credentials: Client(http, keystones.token(credentials), "")


def names(listed: Any, key: str = "shares") -> set[str]:
    return {one["name"] for one in listed[key]}


@pytest.fixture
def two_shares(keystone: Keystone, database: Database) -> None:
    for name in ("blue", "red"):
        add_share(database, keystone.project(name), name=f"of {name}")


def test_a_member_makes_and_sees_what_is_its_projects(
    keystone: Keystone, enter: Callable[[Credentials], Client], two_shares: None
) -> None:
    person = keystone.person("member", project="blue")
    member = enter(person)
    assert names(member.get("/shares")) == {"of blue"}
    assert names(member.get("/shares?all_tenants=1")) == {"of blue"}
    made = member("POST", "/share-networks", {"share_network": {"name": "mine"}})
    assert made.status_code == 200, made.text
    assert made.json["share_network"]["project_id"] == keystone.project("blue")
    assert member("GET", "/services").status_code == 403
    stranger = enter(keystone.person("member", project="red"))
    network = made.json["share_network"]["id"]
    assert stranger("GET", f"/share-networks/{network}").status_code == 404


def test_a_reader_reads(
    keystone: Keystone, enter: Callable[[Credentials], Client], two_shares: None
) -> None:
    reader = enter(keystone.person("reader", project="blue"))
    (share,) = reader.get("/shares/detail")["shares"]
    assert "share_server_id" not in share
    for method, path, body in (
        ("POST", "/share-networks", {"share_network": {}}),
        ("POST", "/shares", {"share": {"size": 1, "share_proto": "NFS"}}),
        ("DELETE", f"/shares/{share['id']}", None),
    ):
        answer = reader(method, path, body)
        assert answer.status_code == 403
        assert answer.json["forbidden"]["code"] == 403


def test_an_administrator_sees_all(
    keystone: Keystone, enter: Callable[[Credentials], Client], two_shares: None
) -> None:
    admin = enter(keystone.person("admin", project="ops"))
    assert names(admin.get("/shares")) == set()
    assert names(admin.get("/shares?all_tenants=1")) >= {"of blue", "of red"}
    assert admin.get("/services")["services"]


def test_readers_of_the_system_see_all_and_change_nothing(
    keystone: Keystone, enter: Callable[[Credentials], Client], two_shares: None
) -> None:
    reader = enter(keystone.person("reader"))
    found = reader.get("/shares/detail")["shares"]
    assert {"of blue", "of red"} <= {one["name"] for one in found}
    assert "share_server_id" in found[0]
    for path in ("/services", "/scheduler-stats/pools", "/share-servers", "/types?is_public=all"):
        assert reader("GET", path).status_code == 200, path
    assert reader("GET", f"/quota-sets/{keystone.project('blue')}").status_code == 200
    for method, path, body in (
        ("DELETE", f"/shares/{found[0]['id']}", None),
        ("PUT", f"/shares/{found[0]['id']}", {"share": {"display_name": "x"}}),
        ("POST", f"/shares/{found[0]['id']}/action", {"force_delete": {}}),
        ("PUT", f"/quota-sets/{keystone.project('blue')}", {"quota_set": {"shares": 1}}),
        ("POST", "/share-networks", {"share_network": {}}),
    ):
        assert reader(method, path, body).status_code == 403, path


def test_administrators_of_the_system(
    keystone: Keystone, enter: Callable[[Credentials], Client], two_shares: None
) -> None:
    admin = enter(keystone.person("admin"))
    (blue,) = (one for one in admin.get("/shares")["shares"] if one["name"] == "of blue")
    assert admin("DELETE", f"/shares/{blue['id']}").status_code == 202
    answer = admin("POST", "/share-networks", {"share_network": {}})
    assert answer.status_code == 403
    assert "scoped to the system" in answer.json["forbidden"]["message"]


def test_tokens_without_a_scope(keystone: Keystone, enter: Callable[[Credentials], Client]) -> None:
    someone = keystones.unscoped(keystone.person("member", project="blue"))
    answer = enter(someone)("GET", "/shares")
    assert answer.status_code == 403
    assert "OS_PROJECT_NAME" in answer.json["forbidden"]["message"]


@pytest.mark.parametrize("token", ["garbage", "a" * 9000, "with\nlines", "ü", "", None])
def test_what_is_no_token(
    keystone: Keystone, http: TestClient, world: ApiInProcess, token: str | None
) -> None:
    for path, headers in (
        ("/v2/shares", {"X-Auth-Token": token}),
        ("/v2/shares/x", {"X-Auth-Token": token, "X-Identity-Status": "Confirmed"}),
    ):
        sent = {name: value for name, value in headers.items() if value is not None}
        answer = http.simulate_get(path, headers=sent)
        assert answer.status_code == 401
        assert answer.json == {"unauthorized": {"code": 401, "message": SENTENCE}}
        assert answer.headers["www-authenticate"] == f'Keystone uri="{keystone.auth_url}"'
        assert answer.headers["x-openstack-request-id"].startswith("req-")
        ours = world.http.simulate_get(path, headers=sent)
        assert (ours.status_code, ours.json) == (answer.status_code, answer.json)


@pytest.fixture
def world(database: Database, tmp_path: Path) -> ApiInProcess:
    """The same database behind tokens of our own."""
    ours = Settings(state_dir=tmp_path)
    return ApiInProcess(database, ours, TestClient(create_app(ours, database)))


def test_a_revoked_token(
    keystone: Keystone,
    enter: Callable[[Credentials], Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keystone_auth, "REMEMBERED_SECONDS", 0.0)
    member = enter(keystone.person("member", project="blue"))
    assert member("GET", "/shares").status_code == 200
    keystone.connection.session.delete(
        f"{keystone.auth_url.rstrip('/').removesuffix('/v3')}/v3/auth/tokens",
        headers={"X-Subject-Token": member.token},
    )
    assert member("GET", "/shares").status_code == 401


def test_an_expired_token(keystone: Keystone, enter: Callable[[Credentials], Client]) -> None:
    if keystone.double is None:
        pytest.skip("a real Keystone's tokens live for an hour")
    member = enter(keystone.person("member", project="blue"))
    keystone.double.expire(member.token)
    assert member("GET", "/shares").status_code == 401


def test_a_burst_asks_keystone_once(
    keystone: Keystone, enter: Callable[[Credentials], Client]
) -> None:
    if keystone.double is None:
        pytest.skip("a real Keystone does not count")
    member = enter(keystone.person("member", project="blue"))
    before = keystone.double.validations
    for _ in range(5):
        member.get("/shares")
    assert keystone.double.validations == before + 1


def test_identity_headers_of_the_client_count_nothing(
    keystone: Keystone, enter: Callable[[Credentials], Client], two_shares: None
) -> None:
    member = enter(keystone.person("member", project="blue"))
    spoofed = {
        "X-Project-Id": keystone.project("red"),
        "X-Roles": "admin",
        "X-Identity-Status": "Confirmed",
        "OpenStack-System-Scope": "all",
    }
    assert names(member.get("/shares?all_tenants=1", headers=spoofed)) == {"of blue"}
    garbage = Client(member.http, "garbage", "")
    assert garbage("GET", "/shares", headers=spoofed).status_code == 401


def test_another_services_token_is_checked_too(
    keystone: Keystone, enter: Callable[[Credentials], Client]
) -> None:
    member = enter(keystone.person("member", project="blue"))
    for service_token in (
        "garbage",
        "with space",
        keystones.token(keystone.person("member", project="red")),
    ):
        headers = {"X-Service-Token": service_token}
        assert member("GET", "/shares", headers=headers).status_code == 401
    service = Keystone.person(_with_role(keystone), keystones.ROLE, project="blue")
    headers = {"X-Service-Token": keystones.token(service)}
    assert member("GET", "/shares", headers=headers).status_code == 200
    if keystone.double is not None:  # long-running work of Nova for a user goes on
        keystone.double.expire(member.token)
        again = {"X-Service-Token": keystones.token(service)}
        assert member("GET", "/shares", headers=again).status_code == 200
        assert member("GET", "/shares").status_code == 401


def _with_role(keystone: Keystone) -> Keystone:
    """It was made together with the service user."""
    keystone.roles = {role.name: role.id for role in keystone.identity.roles()}
    return keystone


def test_application_credentials_may_be_for_some_requests_only(
    keystone: Keystone, http: TestClient, enter: Callable[[Credentials], Client]
) -> None:
    if keystone.double is not None:
        pytest.skip("the double has no application credentials")
    person = keystone.person("member", project="blue")
    rule = {"service": "shared-file-system", "method": "GET", "path": "/v2/shares"}
    identity = keystone.identity
    for service_type in ("shared-file-system", "sharev2"):  # restricted means: of the catalog
        service = identity.create_service(type=service_type, name=keystone.run)
        keystone.undo.callback(identity.delete_service, service.id)
        made = identity.create_endpoint(
            service_id=service.id, interface="public", region_id=keystone.region, url="http://x/v2"
        )
        keystone.undo.callback(identity.delete_endpoint, made.id)
    with keystones.connect(person) as own:
        credential = catalog.identity_api(own).create_application_credential(
            str(own.current_user_id), "restricted", access_rules=[rule]
        )
    restricted = {
        "OS_AUTH_TYPE": "v3applicationcredential",
        "OS_AUTH_URL": person["OS_AUTH_URL"],
        "OS_APPLICATION_CREDENTIAL_ID": credential.id,
        "OS_APPLICATION_CREDENTIAL_SECRET": credential.secret,
    }
    client = enter(restricted)
    for _ in range(2):  # what the first has shown must not open the second
        assert client("GET", "/shares").status_code == 200
        assert client("GET", "/snapshots").status_code == 401


def test_the_project_may_be_in_the_url(
    keystone: Keystone, enter: Callable[[Credentials], Client], two_shares: None
) -> None:
    member = enter(keystone.person("member", project="blue"))
    assert names(member.get(f"/{keystone.project('blue')}/shares")) == {"of blue"}
    assert member("GET", f"/{keystone.project('red')}/shares").status_code == 400


def test_projects_are_keystones_to_look_up(
    keystone: Keystone, enter: Callable[[Credentials], Client]
) -> None:
    admin = enter(keystone.person("admin", project="ops"))
    assert admin("GET", "/projects").status_code == 404


@pytest.mark.parametrize(
    ("path", "code"), [("/", 300), ("/v2/", 200), ("/healthcheck", 200), ("/metrics", 200)]
)
def test_open_to_everybody(http: TestClient, path: str, code: int) -> None:
    assert http.simulate_get(path).status_code == code
