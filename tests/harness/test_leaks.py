"""What a run has left on the machine, and what is libvirt's; in network namespaces, by real nft."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import need

pytestmark = pytest.mark.root  # makes network namespaces

LOOK_AROUND = """
import json, pathlib, subprocess, sys
from harness.leaks import Before

before_run, run = json.loads(sys.argv[1])
subprocess.run(["sh", "-ec", before_run], check=True)
before = Before()
subprocess.run(["sh", "-ec", run], check=True)
print(json.dumps(before.leaks(pathlib.Path(sys.argv[2]))))
"""

LIBVIRT_BY_IPTABLES = """
for program in iptables ip6tables; do
    for where in INPUT:LIBVIRT_INP OUTPUT:LIBVIRT_OUT FORWARD:LIBVIRT_FWO FORWARD:LIBVIRT_FWI; do
        $program -N ${where#*:}
        $program -I ${where%:*} -j ${where#*:}
    done
    for table in nat mangle; do
        $program -t $table -N LIBVIRT_PRT
        $program -t $table -I POSTROUTING -j LIBVIRT_PRT
    done
done
"""
"""What libvirt 9 does at its first start."""

DEFAULT_NETWORK = """
ip link add virbr0 type bridge
iptables -I LIBVIRT_INP -i virbr0 -p udp --dport 53 -j ACCEPT
iptables -I LIBVIRT_FWI -o virbr0 -j REJECT
iptables -t nat -I LIBVIRT_PRT -s 192.168.122.0/24 -d 224.0.0.0/24 -j RETURN
"""

LIBVIRT_BY_NFTABLES = """
for family in ip ip6; do
nft -f - <<RULES
table $family libvirt_network {
    chain forward {
        type filter hook forward priority filter; policy accept;
        counter jump guest_cross
        counter jump guest_input
        counter jump guest_output
    }
    chain guest_output { iif lo counter reject; }
    chain guest_input { oifname "virbr0" counter reject; }
    chain guest_cross { iifname "virbr0" oifname "virbr0" counter accept; }
    chain guest_nat { type nat hook postrouting priority srcnat; policy accept; }
}
RULES
done
"""
"""What libvirt does from 10.4 on."""

RULE_OF_OURS = "iptables -I LIBVIRT_FWI -o at12ab-01234567 -j REJECT"


def left(tmp_path: Path, run: str, *, before: str = "true") -> list[str]:
    """What is found after ``run``, on a machine of its own that ``before`` was run on."""
    need("unshare", "ip", "nft", "iptables")
    commands = json.dumps([before, run])
    argv = ["unshare", "--net", sys.executable, "-c", LOOK_AROUND, commands, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    # The program that looks has the directory among its own arguments.
    return [line for line in found if not line.startswith("process")]


@pytest.mark.parametrize(
    "run",
    [
        LIBVIRT_BY_IPTABLES,
        LIBVIRT_BY_IPTABLES + DEFAULT_NETWORK,
        LIBVIRT_BY_NFTABLES,
        LIBVIRT_BY_NFTABLES + LIBVIRT_BY_IPTABLES,
        "ip link add tunl0 type bridge",
    ],
    ids=["iptables", "its default network", "nftables", "both", "the kernel's"],
)
def test_what_a_first_start_makes_is_not_left_by_us(tmp_path: Path, run: str) -> None:
    assert left(tmp_path, run) == []


@pytest.mark.parametrize(
    ("run", "sign"),
    [
        ("nft add table inet atoll_1234", "firewall table inet atoll_1234"),
        ("nft add table ip filter", "firewall table ip filter"),
        ("nft add table ip libvirt_network", "firewall table ip libvirt_network"),
        ("iptables -N ATOLL", "firewall table ip filter"),
        (LIBVIRT_BY_IPTABLES + RULE_OF_OURS, "at12ab-01234567"),
        (LIBVIRT_BY_IPTABLES + "iptables -N SHARES", "firewall chain in ip filter"),
        (LIBVIRT_BY_IPTABLES + "iptables -I INPUT -p tcp -j DROP", "firewall rule in ip filter"),
        (LIBVIRT_BY_IPTABLES + "iptables -P FORWARD DROP", "firewall chain in ip filter"),
        (
            LIBVIRT_BY_NFTABLES
            + 'nft add rule ip libvirt_network guest_input oifname "at12ab-01234567" accept',
            "at12ab-01234567",
        ),
        (LIBVIRT_BY_NFTABLES + "nft add chain ip libvirt_network shares", "firewall chain in ip"),
        ("ip link add at12ab-01234567 type bridge", "interface at12ab-01234567"),
        ("ip link add vnet0 type bridge", "interface vnet0"),
    ],
)
def test_what_is_ours_is_found(tmp_path: Path, run: str, sign: str) -> None:
    assert [line for line in left(tmp_path, run) if sign in line]


@pytest.mark.parametrize("before", [LIBVIRT_BY_IPTABLES, LIBVIRT_BY_NFTABLES])
def test_on_a_machine_where_libvirt_has_run_what_was_there_is_not_new(
    tmp_path: Path, before: str
) -> None:
    assert left(tmp_path, "true", before=before) == []


def test_a_rule_of_ours_is_found_in_a_table_that_was_there(tmp_path: Path) -> None:
    [line] = left(tmp_path, RULE_OF_OURS, before=LIBVIRT_BY_IPTABLES)
    assert line.startswith("firewall rule in ip filter: LIBVIRT_FWI")


def test_others_may_be_busy_in_a_table_that_was_there(tmp_path: Path) -> None:
    before = "iptables -N DOCKER; iptables -A INPUT -j DOCKER"
    run = "iptables -A DOCKER -i docker0 -j ACCEPT" + LIBVIRT_BY_IPTABLES
    assert left(tmp_path, run, before=before) == []


def test_a_dhcp_server_on_a_bridge_of_ours_is_found(tmp_path: Path) -> None:
    need("unshare")
    # The namespace of processes ends it with the program that looks.
    run = "sh -c 'sleep 60; : at12ab-01234567' > /dev/null 2>&1 &"
    run += "until tr '\\0' ' ' < /proc/$!/cmdline | grep -q '^sh -c sleep'; do :; done"
    commands = json.dumps(["true", run])
    argv = ["unshare", "--net", "--pid", "--fork", "--mount-proc"]
    argv += [sys.executable, "-c", LOOK_AROUND, commands, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    assert any("sleep 60" in line for line in found)
