"""Access rules: the contract's words, and the algebra of addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from atoll import addresses
from atoll.driver.access import judge
from atoll.driver.protocols import CIFSHelper, NFSHelper
from atoll.errors import Invalid
from tests.driver.in_memory import DriverOnMemory, Row, rule

ALICE = "10.0.0.1"


def served(site: DriverOnMemory, share: Row, server: Row, *clients: str) -> str:
    """Levels of clients as they find them: ``w`` may write, ``r`` may read, ``-`` is refused."""
    location = f"{server['backend_details']['public_address']}:/shares/{share['id']}"
    answer = ""
    for client in clients:
        if not site.client(client).may_mount(location):
            answer += "-"
            continue
        try:
            site.client(client).mount(location).write("probe", b"")
        except OSError:
            answer += "r"
        else:
            answer += "w"
    return answer


@pytest.fixture
def share(site: DriverOnMemory, server: Row) -> Row:
    share = site.share()
    site.driver.create_share(site.context(), share, server)
    return share


def test_what_a_server_says_of_a_client_is_for_operators() -> None:
    verdict = judge(NFSHelper(), [rule(ALICE), rule("10.0.0.2", "up")])
    words = "exportfs: /shares/x on 10.254.0.9: Function not implemented"
    with capture_logs() as lines:
        updates = verdict.updates({ALICE: words})
    accepted, refused = updates.values()
    assert {accepted["reason"], refused["reason"]} == {
        f"The file server accepts no rule for {ALICE}.",
        "NFS access rules of type 'ip' have no level 'up'. Levels that they have: rw, ro.",
    }
    assert [line["reason"] for line in lines] == [words]


def test_addresses_match_exactly(site: DriverOnMemory, server: Row, share: Row) -> None:
    site.update_access(share, server, rule("10.0.0.10"))
    assert served(site, share, server, "10.0.0.1", "10.0.0.10", "10.0.0.100") == "-w-"


def test_levels_networks_and_the_more_specific_rule(
    site: DriverOnMemory, server: Row, share: Row
) -> None:
    rules = [rule("0.0.0.0/0", "ro"), rule("10.0.0.0/24"), rule("10.0.0.7", "ro")]
    assert site.update_access(share, server, *rules) == {}
    assert served(site, share, server, "10.0.0.7", "10.0.0.8", "192.0.2.1") == "rwr"


def test_ipv6_rules_count(site: DriverOnMemory, server: Row, share: Row) -> None:
    rules = [rule("fd00::1", "ro"), rule("fd00:1::/64"), rule("::/0", "ro")]
    assert site.update_access(share, server, *rules) == {}
    assert served(site, share, server, "fd00::1", "fd00:1::9", "fd00:2::", ALICE) == "rwr-"


def test_recovery_converges_to_the_rules(site: DriverOnMemory, server: Row, share: Row) -> None:
    site.update_access(share, server, rule("10.0.0.1"), rule("10.0.0.2"))
    site.update_access(share, server, rule("10.0.0.2", "ro"), rule("10.0.0.3"))
    assert served(site, share, server, "10.0.0.1", "10.0.0.2", "10.0.0.3") == "-rw"


def test_adding_what_is_there_and_deleting_what_never_was(
    site: DriverOnMemory, server: Row, share: Row
) -> None:
    there, never, bad = rule("10.0.0.1"), rule("10.0.0.9"), rule("nobody", access_type="user")
    for _ in range(2):
        updates = site.driver.update_access(
            site.context(), share, [there], [there], [never, bad], share_server=server
        )
        assert updates is None
    assert served(site, share, server, "10.0.0.1", "10.0.0.9") == "w-"


def test_one_bad_rule_is_its_own_error_only(site: DriverOnMemory, server: Row, share: Row) -> None:
    good = rule("10.0.0.1")
    bad = [
        rule("alice", access_type="user"),
        rule("10.0.0.2", "rwx"),
        rule("10.0.0.300"),
        rule("; rm -rf /"),
        rule("$(reboot)"),
    ]
    updates = site.update_access(share, server, bad[0], good, *bad[1:])
    assert set(updates) == {each["id"] for each in bad}
    assert {update["state"] for update in updates.values()} == {"error"}
    assert all(update["reason"].endswith(".") for update in updates.values())
    assert served(site, share, server, "10.0.0.1", "10.0.0.2") == "w-"


def test_two_ways_to_write_one_client(site: DriverOnMemory, server: Row, share: Row) -> None:
    plain, long, clash = rule("10.0.0.1"), rule("10.0.0.1/32"), rule("::ffff:10.0.0.1", "ro")
    updates = site.update_access(share, server, plain, long, clash)
    assert set(updates) == {clash["id"]}
    assert served(site, share, server, "10.0.0.1") == "w"
    assert site.update_access(share, server, long) == {}
    assert served(site, share, server, "10.0.0.1") == "w"


def test_smb_refuses_read_only_hosts_and_users() -> None:
    verdict = judge(CIFSHelper(), [rule("10.0.0.1", "ro"), rule("bob", "rw", "user"), rule("::1")])
    assert set(verdict.refused) == {"ip 10.0.0.1 ro", "user bob rw"}
    assert [export.to for export in verdict.exports] == ["::1"]


def test_locations() -> None:
    assert NFSHelper().location("fd00::5", "/shares/a") == "[fd00::5]:/shares/a"
    assert CIFSHelper().location("fd00::5", "/shares/a") == r"\\fd00--5.ipv6-literal.net\a"


# --- algebra ------------------------------------------------------------------------------------

networks = st.one_of(
    st.builds(
        lambda address, prefix: IPv4Network((address, prefix), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(0, 32),
    ),
    st.builds(
        lambda address, prefix: IPv6Network((address, prefix), strict=False),
        st.integers(0, 2**128 - 1),
        st.integers(0, 128),
    ),
)


@given(networks)
def test_canonical_form_is_stable_and_means_the_same(network: IPv4Network | IPv6Network) -> None:
    text = addresses.canonical(str(network))
    assert addresses.canonical(text) == text
    assert addresses.canonical(network.exploded) == text
    assert addresses.parse(text) == addresses.parse(str(network))
    assert ("/" in text) == (network.num_addresses > 1)


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_a_wrapped_ipv4_client_is_the_ipv4_client(number: int, prefix: int) -> None:
    network = IPv4Network((number, prefix), strict=False)
    wrapped = f"::ffff:{network.network_address}/{96 + prefix}"
    assert addresses.canonical(wrapped) == addresses.canonical(str(network))


@given(networks, networks)
def test_a_rule_covers_exactly_its_addresses(
    one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network
) -> None:
    rule_, client = addresses.parse(str(one)), addresses.parse(str(other)).network_address
    expected = rule_.version == client.version and client in rule_
    assert addresses.covers(str(one), str(client)) == expected


@given(st.lists(networks, max_size=8))
def test_the_most_specific_comes_first(some: list[IPv4Network | IPv6Network]) -> None:
    texts = sorted((addresses.canonical(str(one)) for one in some), key=addresses.specificity)
    parsed = [ip_network(text) for text in texts]
    for earlier, later in pairwise(parsed):
        assert earlier.num_addresses <= later.num_addresses or earlier.version != later.version


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        network = addresses.parse(text)
    except Invalid:
        return
    assert addresses.write(network) == addresses.canonical(text)


@pytest.mark.parametrize(
    "text",
    ["", " 10.0.0.1", "10.0.0.1\n", "10.0.0.300", "10.0.0.1/33", "10.0.0.1/24", "10.0.0",
     "fe80::1%1", "010.0.0.1", "10.0.0.0/255.255.255.0", "\u0661\u0660.0.0.1", "*", "all",
     "::1/129", "10.0.0.1/-1"],
)  # fmt: skip
def test_malformed_addresses_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        addresses.parse(text)


rule_lists = st.lists(
    st.builds(
        rule,
        st.sampled_from(
            ["10.0.0.1", "10.0.0.1/32", "10.0.0.10", "10.0.0.0/24", "0.0.0.0/0", "nonsense"]
        ),
        st.sampled_from(["rw", "ro", "x"]),
        st.sampled_from(["ip", "user"]),
    ),
    max_size=10,
    unique_by=lambda each: each["id"],
)


@given(rule_lists)
def test_every_rule_is_exported_or_refused(rules: list[Row]) -> None:
    verdict = judge(NFSHelper(), rules)
    named = {rule_id for ids in verdict.clients.values() for rule_id in ids}
    assert named | set(verdict.refused) == {each["id"] for each in rules}
    assert not named & set(verdict.refused)
    targets = [export.to for export in verdict.exports]
    assert len(targets) == len(set(targets))
    assert set(verdict.clients) == set(targets)


@given(rule_lists, st.integers(0, 2**32 - 1))
def test_nobody_gets_in_without_a_rule(rules: list[Row], number: int) -> None:
    client = str(IPv4Address(number))
    let_in = any(
        addresses.covers(export.to, client) for export in judge(NFSHelper(), rules).exports
    )
    good = [r for r in rules if r["access_type"] == "ip" and r["access_level"] != "x"]
    allowed = [r for r in good if r["access_to"] != "nonsense"]
    assert let_in == any(addresses.covers(each["access_to"], client) for each in allowed)
