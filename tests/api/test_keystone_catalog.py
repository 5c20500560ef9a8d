"""``atoll keystone register`` and ``unregister``, and what the doctor says then."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("openstack", reason="the extra [openstack] is not installed")

from atoll.cli.main import app
from atoll.errors import AtollError
from tests.api import keystones
from tests.api.keystones import Keystone

keystone = keystones.keystone
take_away = keystones.take_away
pytestmark = pytest.mark.filterwarnings("ignore")

URL = "http://192.0.2.7:8786/v2"
Atoll = Callable[..., str]


@pytest.fixture
def atoll(
    keystone: Keystone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """Run the command as Keystone's administrator; what it printed."""
    for name, value in {
        **keystone.admin,
        "OS_CLIENT_CONFIG_FILE": "/nonexistent",
        "ATOLL_STATE_DIR": str(tmp_path),
        "ATOLL_CLOUD": "memory",
        "ATOLL_API__AUTH_STRATEGY": "keystone",
        "ATOLL_API__PORT": "0",
        "ATOLL_KEYSTONE__AUTH_URL": keystone.auth_url,
        "ATOLL_KEYSTONE__USERNAME": f"{keystone.run}-registered",
        "ATOLL_KEYSTONE__PROJECT_NAME": f"{keystone.run}-registered",
        "ATOLL_KEYSTONE__REGION_NAME": keystone.region,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OS_CLOUD", raising=False)

    def run(*words: str, **environment: str) -> str:
        done = CliRunner().invoke(app, [*words], env=environment)
        if isinstance(done.exception, AtollError):
            raise done.exception
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.stdout

    yield run
    run("keystone", "unregister", "--service-user")
    for project in keystone.identity.projects(name=f"{keystone.run}-registered"):
        keystone.identity.delete_project(project.id)


def register(atoll: Atoll, *words: str) -> list[dict[str, Any]]:
    printed = atoll("keystone", "register", "--url", URL, "--json", *words)
    changes: list[dict[str, Any]] = json.loads(printed)
    return changes


def endpoints(keystone: Keystone) -> set[tuple[str, str, str]]:
    """Type, interface and URL of what is ours in the tests' region."""
    identity = keystone.identity
    types = {service.id: service.type for service in identity.services() if service.is_enabled}
    return {
        (types[one.service_id], one.interface, one.url)
        for one in identity.endpoints(region_id=keystone.region)
        if one.is_enabled and types.get(one.service_id) in ("shared-file-system", "sharev2")
    }


ALL = {
    (service_type, interface, URL)
    for service_type in ("shared-file-system", "sharev2")
    for interface in ("public", "internal", "admin")
}


def test_it_registers_once(keystone: Keystone, atoll: Atoll) -> None:
    made = register(atoll)
    assert {change["change"] for change in made} == {"made"}
    assert endpoints(keystone) == ALL
    assert {change["change"] for change in register(atoll)} == {"kept"}
    assert "Nothing changed." in atoll("keystone", "register", "--url", "http://192.0.2.7:8786/")


def test_it_mends_what_others_have_done(keystone: Keystone, atoll: Atoll) -> None:
    made = register(atoll)
    identity = keystone.identity
    ids = {(change["kind"], change["name"]): change["id"] for change in made}
    public = f"public in {keystone.region}"
    identity.update_endpoint(ids["endpoint", public], url="http://elsewhere/v2")
    identity.update_service(ids["service", "atoll (shared-file-system)"], enabled=False)
    identity.create_endpoint(
        service_id=ids["service", "atollv2 (sharev2)"],
        interface="internal",
        region_id=keystone.region,
        url="http://twice/v2",
    )
    changes = [change["change"] for change in register(atoll)]
    assert changes.count("updated") >= 2
    assert changes.count("removed") == 1
    assert endpoints(keystone) == ALL
    assert {change["change"] for change in register(atoll)} == {"kept"}


def test_only_some_interfaces(keystone: Keystone, atoll: Atoll) -> None:
    register(atoll, "--interface", "public,internal")
    assert {interface for _, interface, _ in endpoints(keystone)} == {"public", "internal"}
    for wrong in ("publik", "", ","):
        with pytest.raises(AtollError, match="public, internal, admin"):
            register(atoll, "--interface", wrong)


def test_it_makes_the_service_user(keystone: Keystone, atoll: Atoll, tmp_path: Path) -> None:
    made = {change["kind"]: change["change"] for change in register(atoll, "--service-user")}
    assert made["user"] == made["project"] == made["role assignment"] == "made"
    file = tmp_path / "keystone.password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {change["change"] for change in register(atoll, "--service-user")} == {"kept"}
    printed = atoll("doctor", "--json")
    assert file.read_text().strip() not in printed
    found = {finding["check"]: finding for finding in json.loads(printed)}
    assert found["Keystone"]["ok"], found["Keystone"]
    assert found["Catalog sharev2"]["ok"]
    assert found["Catalog shared-file-system"]["detail"] == URL
    assert not found[f"Endpoint {URL}/"]["ok"]  # 192.0.2.7 is nobody's

    file.write_text("changed\n")
    changed = {change["kind"]: change["change"] for change in register(atoll, "--service-user")}
    assert changed["user"] == "updated"
    assert {change["change"] for change in register(atoll, "--service-user")} == {"kept"}


def test_the_doctor_before_anything_is_registered(atoll: Atoll, tmp_path: Path) -> None:
    def keystone_says() -> dict[str, Any]:
        found = {finding["check"]: finding for finding in json.loads(atoll("doctor", "--json"))}
        answer: dict[str, Any] = found["Keystone"]
        assert not answer["ok"]
        return answer

    assert "can't be read" in keystone_says()["detail"]
    (tmp_path / "keystone.password").write_text("wrong\n")
    assert "register --service-user" in keystone_says()["todo"]


def test_unregister(keystone: Keystone, atoll: Atoll) -> None:
    register(atoll)
    removed = json.loads(atoll("keystone", "unregister", "--json"))
    assert {change["change"] for change in removed} == {"removed"}
    assert endpoints(keystone) == set()
    assert "Nothing changed." in atoll("keystone", "unregister")


def test_another_service_is_not_touched(
    keystone: Keystone, atoll: Atoll, take_away: Callable[..., None]
) -> None:
    identity = keystone.identity
    other = identity.create_service(type="sharev2", name=f"{keystone.run}-manila")
    take_away(identity.delete_service, other.id)
    identity.create_endpoint(
        service_id=other.id, interface="public", region_id=keystone.region, url="http://other/v2"
    )
    with pytest.raises(AtollError, match="another service of type sharev2") as refused:
        register(atoll)
    assert f"openstack service set --disable {other.id}" in str(refused.value)
    assert endpoints(keystone) == {("sharev2", "public", "http://other/v2")}
    identity.update_service(other.id, enabled=False)
    register(atoll)
    assert endpoints(keystone) == ALL


def test_mistakes_say_what_to_do(keystone: Keystone, atoll: Atoll) -> None:
    for words, told in (
        (("--region", "Nowhere"), "openstack region create Nowhere"),
        (("--url", "shares.example.org"), "https://shares.example.org:8786"),
        (("--url", "http://0.0.0.0:8786"), "--url"),
    ):
        with pytest.raises(AtollError) as refused:
            atoll("keystone", "register", *words)
        assert told in str(refused.value)
    assert endpoints(keystone) == set()


def test_it_needs_an_administrator(keystone: Keystone, atoll: Atoll) -> None:
    person = keystone.person("member", project="blue")
    for change in (person, {"OS_PASSWORD": "wrong"}, {"OS_AUTH_URL": "http://127.0.0.1:1"}):
        with pytest.raises(AtollError, match="OS_CLOUD"):
            atoll("keystone", "register", "--url", URL, **change)
    assert endpoints(keystone) == set()
