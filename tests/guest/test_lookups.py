"""What clients are told while their rules change: an active rule lets in, a removed one doesn't.

The server's kernel asks mountd about each client, and keeps the answer for half an hour. So clients
look just while the rules change, in a real service instance: an answer by the old rules that comes
too late would stay.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from atoll.guest.channel import SshGuest
from harness.service_vm import ServiceVm
from tests.guest.conftest import HERE, rules
from tests.guest.test_instance import new_share, plug

pytestmark = [pytest.mark.vm, pytest.mark.slow, pytest.mark.timeout(1200)]

CLIENTS = [f"10.99.0.{number}" for number in range(2, 62)]
ROUNDS = 20
PREPARE = f"""
ip netns add clients
ip link add inside type veth peer name outside netns clients
ip address add 10.99.0.1/16 dev inside
ip link set inside up
ip -n clients link set outside up
for address in {" ".join(CLIENTS)}; do ip -n clients address add $address/16 dev outside; done
nft flush ruleset
cat >/root/lookups.py <<'PROGRAM'
{(HERE / "lookups.py").read_text()}
PROGRAM
"""


@pytest.fixture
def guest(machine: ServiceVm) -> Iterator[SshGuest]:
    guest = machine.open()
    for share in guest.health().shares:  # those of other tests make each change slower
        guest.remove_share(share.share_id, f"/shares/{share.share_id}", fence=1_000)
    yield guest
    guest.close()


class Lookups:
    """The clients, in a network namespace of the instance."""

    def __init__(self, machine: ServiceVm) -> None:
        machine.shell(PREPARE)
        command = f"ip netns exec clients python3 -u /root/lookups.py 10.99.0.1 {' '.join(CLIENTS)}"
        argv = machine.ssh(f"sudo -n {command}")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)
        assert self._heard() == "ready"

    def burst(self, path: str) -> None:
        """Have each client look once while the next change is being made."""
        self._say(f"burst {path} 0.5")

    def told(self, path: str) -> dict[str, str]:
        """What each client is told now; "0" is that the path is there."""
        return dict(zip(CLIENTS, self._say(f"check {path}").split(), strict=True))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _say(self, words: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def test_rules_hold_whoever_looks_while_they_change(machine: ServiceVm, guest: SshGuest) -> None:
    share, other = new_share(plug(machine)), new_share(plug(machine))
    guest.apply_share(share, fence=1, deadline=180)
    guest.apply_share(other, fence=1, deadline=180)
    clients = Lookups(machine)
    late: list[str] = []
    try:
        for number in range(ROUNDS):
            for to in ("10.99.0.0/16", "10.98.0.1"):
                # Another share's rules have just changed: the server knows no client any more.
                guest.apply_share(
                    replace(other, rules=rules(f"10.97.0.{number + 1}")), fence=1, deadline=120
                )
                clients.burst(share.path)
                guest.apply_share(replace(share, rules=rules(to)), fence=1, deadline=120)
                may = to == "10.99.0.0/16"
                told = clients.told(share.path)
                late += [
                    f"{to}: {who} {what}" for who, what in told.items() if (what == "0") != may
                ]
    finally:
        clients.close()
    assert late == []
