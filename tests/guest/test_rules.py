"""Access rules: one spelling, exact matching, and what each protocol can have."""

from __future__ import annotations

import ipaddress
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.guest.agent import nfs, samba
from atoll.guest.agent.rules import canonical, digest, refusal, servable
from atoll.guest.base import ExportRule
from atoll.guest.base import digest as digest_of_rules

addresses = st.ip_addresses().map(str)
networks = st.tuples(st.ip_addresses(), st.integers(0, 128)).map(
    lambda pair: f"{pair[0]}/{min(pair[1], pair[0].max_prefixlen)}"
)
levels = st.sampled_from(["rw", "ro"])
ip_rules = st.fixed_dictionaries(
    {"type": st.just("ip"), "to": addresses | networks, "level": levels}
)
names = st.from_regex(r"[A-Za-z0-9._][A-Za-z0-9._-]{0,20}", fullmatch=True)
user_rules = st.fixed_dictionaries({"type": st.just("user"), "to": names, "level": levels})


@given(addresses | networks)
def test_a_spelling_is_canonical_at_once(to: str) -> None:
    once = canonical(to)
    assert canonical(once) == once
    assert ipaddress.ip_network(once) == ipaddress.ip_network(to, strict=False)


@given(addresses)
def test_a_single_address_is_spelled_without_a_length(address: str) -> None:
    bits = ipaddress.ip_address(address).max_prefixlen
    assert canonical(f"{address}/{bits}") == canonical(address) == address


@given(st.lists(ip_rules), st.randoms())
def test_a_digest_knows_no_order(rules: list[dict[str, str]], random: Any) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert digest(rules, "root_squash") == digest(shuffled, "root_squash")


def test_both_sides_have_the_same_digest() -> None:
    spelled = (ExportRule("ip", "10.0.0.0/8", "ro"), ExportRule("ip", "10.0.0.1/32", "rw"))
    seen = [asdict(ExportRule("ip", "10.0.0.1", "rw")), asdict(spelled[0])]
    assert digest_of_rules(spelled, "all_squash") == digest(seen, "all_squash")
    assert digest_of_rules(spelled, "all_squash") != digest(seen, "root_squash")


@given(st.lists(ip_rules | user_rules), st.sampled_from(["NFS", "CIFS"]))
def test_every_rule_is_served_or_refused_with_a_reason(
    rules: list[dict[str, str]], protocol: str
) -> None:
    accepted, rejected = servable(rules, protocol)
    for rule in rules:
        to = canonical(rule["to"]) if rule["type"] == "ip" else rule["to"]
        if accepted.get((rule["type"], to)) != rule["level"]:
            assert rejected[rule["to"]]


@pytest.mark.parametrize(
    ("kind", "to", "level", "protocol"),
    [
        ("ip", "10.0.0.300", "rw", "NFS"),
        ("ip", "10.0.0.1/33", "rw", "NFS"),
        ("ip", "; rm -rf /", "rw", "NFS"),
        ("ip", "fe80::1%eth0", "rw", "NFS"),
        ("ip", "*", "rw", "NFS"),
        ("ip", "10.0.0.1(rw", "rw", "NFS"),
        ("ip", "10.0.0.1", "su", "NFS"),
        ("ip", "10.0.0.1", "ro", "CIFS"),
        ("user", "anna", "rw", "NFS"),
        ("user", "%U", "rw", "CIFS"),
        ("user", "@wheel", "rw", "CIFS"),
        ("user", 'a" "b', "rw", "CIFS"),
        ("user", "-n", "rw", "CIFS"),
        ("cert", "x", "rw", "NFS"),
    ],
)
def test_what_no_server_is_given(kind: str, to: str, level: str, protocol: str) -> None:
    assert refusal({"type": kind, "to": to, "level": level}, protocol)


def test_similar_addresses_are_different_clients() -> None:
    rules = [{"type": "ip", "to": to, "level": "rw"} for to in ("10.0.0.1", "10.0.0.10")]
    assert len(servable(rules, "NFS")[0]) == 2


def test_the_same_client_twice_has_one_level() -> None:
    rules = [
        {"type": "ip", "to": "10.0.0.1", "level": "ro"},
        {"type": "ip", "to": "10.0.0.1/32", "level": "rw"},
    ]
    accepted, rejected = servable(rules, "NFS")
    assert accepted == {("ip", "10.0.0.1"): "ro"}
    assert list(rejected) == ["10.0.0.1/32"]


@given(st.lists(ip_rules | user_rules))
def test_samba_serves_what_was_asked(rules: list[dict[str, str]]) -> None:
    accepted, _ = servable(rules, "CIFS")
    section = samba.section("/shares/one", accepted)
    served = {(rule["type"], rule["to"]): rule["level"] for rule in samba.rules_of(section)}
    assert served == accepted
    assert section["hosts deny"] == "ALL"
    assert ("hosts allow" in section) == bool(accepted)


@given(st.lists(ip_rules, min_size=1))
def test_narrower_clients_come_first(rules: list[dict[str, str]]) -> None:
    accepted, _ = servable(rules, "NFS")
    ordered = [to for (_, to), _ in sorted(accepted.items(), key=nfs.narrowness, reverse=True)]
    found = [ipaddress.ip_network(to) for to in ordered]
    for number, wide in enumerate(found):
        for narrow in found[number + 1 :]:
            assert not (narrow.version == wide.version and narrow.subnet_of(wide))  # type: ignore[arg-type]
