"""Access rules: allow, deny, list, show, metadata; duplicates and malformed clients."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.api.shares import access_to
from atoll.api.shares.access_rules import MAX_RULES
from atoll.db import access_rules, shares
from atoll.db.database import Database
from atoll.errors import Invalid
from atoll.model.states import RulesStatus, RuleState
from tests.api.conftest import ApiInProcess, Client
from tests.api.scene import add_share, queued


@pytest.fixture
def share(database: Database) -> str:
    return add_share(database, "blue")


def allow(who: Client, share_id: str, to: Any, version: str = "2.65", **more: Any) -> Any:
    body = {"allow_access": {"access_type": "ip", "access_to": to, **more}}
    return who("POST", f"/shares/{share_id}/action", body, version=version)


def rules_of(who: Client, share_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = who.get(f"/share-access-rules?share_id={share_id}")["access_list"]
    return found


def test_allow_and_deny(world: ApiInProcess, member: Client, share: str) -> None:
    result = allow(member, share, "10.0.0.1", access_level="ro", metadata={"who": "me"})
    assert result.status_code == 200
    rule = result.json["access"]
    assert rule["state"] == "queued_to_apply"
    assert rule["share_id"] == share
    assert (rule["access_to"], rule["access_level"]) == ("10.0.0.1", "ro")
    assert rule["access_key"] is None
    assert rule["metadata"] == {"who": "me"}
    assert member.get(f"/shares/{share}")["share"]["access_rules_status"] == "syncing"
    assert queued(world.database) == {f"share/{share}"}
    assert member.get(f"/share-access-rules/{rule['id']}")["access"] == rule
    denied = member("POST", f"/shares/{share}/action", {"deny_access": {"access_id": rule["id"]}})
    assert (denied.status_code, denied.text) == (202, "")
    assert [each["state"] for each in rules_of(member, share)] == ["queued_to_deny"]
    again = allow(member, share, "10.0.0.1")
    assert again.status_code == 400
    assert "being removed" in again.json["badRequest"]["message"]


@pytest.mark.parametrize(
    "to",
    [
        "10.0.0.300",
        "10.0.0.1/33",
        "10.0.0.1/-1",
        "10.0.0.1/8",
        "10.0.0",
        "010.0.0.1",
        "",
        "; rm -rf /",
        "$(x)",
        "`id`",
        "10.0.0.1;10.0.0.2",
        "10.0.0.1 10.0.0.2",
        "10.0.0.1\n10.0.0.2",
        "10.0.0.1\0",
        "*",
        "client.example.org",
        "fe80::1%eth0",
        "::/129",
        "x" * 300,
        7,
        None,
        ["10.0.0.1"],
    ],
)
def test_malformed_clients(world: ApiInProcess, member: Client, share: str, to: Any) -> None:
    result = allow(member, share, to)
    assert result.status_code == 400
    assert result.json["badRequest"]["message"]
    assert rules_of(member, share) == []
    assert not queued(world.database)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("10.0.0.0/24", "10.0.0.0/24"),
        ("2001:db8::1", "2001:DB8:0::1/128"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ],
)
def test_duplicates(member: Client, share: str, first: str, second: str) -> None:
    assert allow(member, share, first).status_code == 200
    result = allow(member, share, second)
    assert result.status_code == 400
    assert "exists" in result.json["badRequest"]["message"]
    assert len(rules_of(member, share)) == 1


def test_near_misses_are_no_duplicates(member: Client, share: str) -> None:
    for to in ("10.0.0.1", "10.0.0.10", "10.0.0.0/24", "10.0.0.0/16", "0.0.0.0/0", "::/0"):
        assert allow(member, share, to).status_code == 200
    assert len(rules_of(member, share)) == 6


def test_ipv6_since_2_38(member: Client, share: str) -> None:
    assert allow(member, share, "2001:db8::1", "2.37").status_code == 400
    assert allow(member, share, "2001:db8::1", "2.38").status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"access_type": "cert", "access_to": "x" * 65},
        {"access_type": "cert", "access_to": "a\nb"},
        {"access_type": "cephx", "access_to": "client.alice"},
        {"access_type": "cephx", "access_to": "älice"},
        {"access_type": "dns"},
        {"access_type": None},
        {"access_level": "rwx"},
        {"access_level": 1},
        {"metadata": {"a": 1}},
        {"access_type": "user", "access_to": "a;b"},
        {"access_type": "user", "access_to": "$(reboot)"},
        {"access_type": "user", "access_to": "`reboot`"},
        {"access_type": "user", "access_to": "ab"},
    ],
)
def test_other_refusals(member: Client, share: str, change: dict[str, Any]) -> None:
    wanted = {"access_type": "ip", "access_to": "10.0.0.1", **change}
    result = member("POST", f"/shares/{share}/action", {"allow_access": wanted})
    assert result.status_code == 400
    assert rules_of(member, share) == []


@pytest.mark.parametrize(
    ("kind", "to", "version", "code"),
    [
        ("cert", " client.example.org ", "2.7", 200),
        ("cephx", "alice", "2.13", 200),
        ("cephx", "alice", "2.12", 400),
    ],
)
def test_types_of_other_back_ends_are_asked_for(
    member: Client, share: str, kind: str, to: str, version: str, code: int
) -> None:
    wanted = {"allow_access": {"access_type": kind, "access_to": to}}
    result = member("POST", f"/shares/{share}/action", wanted, version=version)
    assert result.status_code == code, result.text
    assert [rule["access_to"] for rule in rules_of(member, share)] == [to.strip()] * (code == 200)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("available", 200),
        ("creating", 200),
        ("extending", 200),
        ("error", 400),
        ("deleting", 400),
    ],
)
def test_when_a_share_takes_rules(
    database: Database, member: Client, status: str, code: int
) -> None:
    share_id = add_share(database, "blue", status=status)
    assert allow(member, share_id, "10.0.0.1").status_code == code


def test_old_clients(database: Database, member: Client, share: str) -> None:
    body = {"os-allow_access": {"access_type": "ip", "access_to": "10.0.0.1"}}
    rule = member("POST", f"/shares/{share}/action", body, version="2.6").json["access"]
    assert rule["state"] == "new"
    assert "access_key" not in rule
    listed = member("POST", f"/shares/{share}/action", {"os-access_list": None}, version="2.6")
    assert [each["id"] for each in listed.json["access_list"]] == [rule["id"]]
    listed = member("POST", f"/shares/{share}/action", {"access_list": None}, version="2.44")
    assert listed.json["access_list"][0]["state"] == "queued_to_apply"
    gone = member("POST", f"/shares/{share}/action", {"access_list": None}, version="2.45")
    assert gone.status_code == 404
    with database.begin() as connection:
        shares.change(connection, share, access_rules_status=RulesStatus.ERROR)
    assert allow(member, share, "10.0.0.2", "2.27").status_code == 400
    assert allow(member, share, "10.0.0.2", "2.28").status_code == 200


def test_deny_what_is_not_there(
    database: Database, member: Client, stranger: Client, share: str
) -> None:
    rule = allow(member, share, "10.0.0.1").json["access"]
    other = add_share(database, "blue")
    deny = {"deny_access": {"access_id": rule["id"]}}
    assert member("POST", f"/shares/{other}/action", deny).status_code == 404
    assert stranger("POST", f"/shares/{share}/action", deny).status_code == 404
    unknown = {"deny_access": {"access_id": "none-such"}}
    assert member("POST", f"/shares/{share}/action", unknown).status_code == 404
    assert member("POST", f"/shares/{share}/action", {"deny_access": {}}).status_code == 400
    assert stranger("GET", f"/share-access-rules/{rule['id']}").status_code == 404
    for hidden in (share, "none", "x" * 2000):
        refused = stranger("GET", f"/share-access-rules?share_id={hidden}")
        assert refused.status_code == 400
        assert f"Share {hidden[:64]} not found" in refused.json["badRequest"]["message"]
    assert member("GET", "/share-access-rules").status_code == 400
    assert member("GET", f"/share-access-rules/{rule['id']}", version="2.44").status_code == 404


def test_metadata_of_rules(member: Client, share: str) -> None:
    rule = allow(member, share, "10.0.0.1", metadata={"a": "1"}).json["access"]
    allow(member, share, "10.0.0.2")
    path = f"/share-access-rules/{rule['id']}/metadata"
    changed = member("PUT", path, {"metadata": {"b": "2"}})
    assert changed.json == {"metadata": {"a": "1", "b": "2"}}
    query = f"/share-access-rules?share_id={share}&metadata=%7B'b':'2'%7D"
    assert [each["id"] for each in member.get(query)["access_list"]] == [rule["id"]]
    assert member("DELETE", f"{path}/a").status_code == 200
    assert member("DELETE", f"{path}/a").status_code == 404


def test_a_denied_rule_is_not_made_active_by_work_under_way(
    database: Database, member: Client, share: str
) -> None:
    rule = allow(member, share, "10.0.0.1").json["access"]["id"]
    with database.begin() as connection:
        access_rules.start(connection, share)
    member("POST", f"/shares/{share}/action", {"deny_access": {"access_id": rule}})
    with database.begin() as connection:
        access_rules.finish(connection, removed=[], active=[rule], failed=[])
        states = [row["state"] for row in access_rules.of_share(connection, share)]
    assert states == ["queued_to_deny"]


@given(st.ip_addresses())
def test_canonical_addresses_are_fixed_points(address: Any) -> None:
    once = access_to.canonical("ip", str(address), 65)
    assert access_to.canonical("ip", once, 65) == once
    assert access_to.canonical("ip", f"{address}/{address.max_prefixlen}", 65) == once


@given(st.text(max_size=60))
def test_nothing_that_a_shell_would_act_on_is_accepted(text: str) -> None:
    for kind in ("ip", "user", text):
        with suppress(Invalid):
            accepted = access_to.canonical(kind, text, 65)
            assert not set(accepted) & set("$`;&|<>()\n\0'\"\\")


def test_a_share_has_only_so_many_rules(database: Database, member: Client, share: str) -> None:
    with database.begin() as connection:
        for number in range(MAX_RULES - 1):
            to = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            access_rules.add(
                connection,
                id=f"rule-{number}",
                share_id=share,
                access_type="ip",
                access_to=to,
                access_level="rw",
                state=RuleState.ACTIVE,
                metadata={},
            )
    assert allow(member, share, "10.200.0.1").status_code == 200
    refused = allow(member, share, "10.200.0.2")
    assert refused.status_code == 400
    assert "2000 access rules" in refused.json["badRequest"]["message"]
    exists = allow(member, share, "10.200.0.1")
    assert "exists" in exists.json["badRequest"]["message"]
