"""What the service network reaches of a worker's host: a port of its own, and a machine beside it.

The machine beside it is a network namespace that has the other end of the port's device.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from atoll.cloud.nftables import table
from atoll.cloud.openstack import OpenStackSettings
from atoll.cloud.openstack.host_port import HostPort
from atoll.cloud.openstack.networks import NeutronNetworks
from atoll.cloud.program import run

from .neutron_double import neutron_double

pytestmark = pytest.mark.root  # makes network devices

DEPLOYMENT = f"rules-{os.getpid()}"
TABLE = table(DEPLOYMENT)
BESIDE = f"at-rules-{os.getpid()}"
BEHIND = f"at-behind-{os.getpid()}"
HOST, INSTANCE, ELSEWHERE, CLIENT = "100.127.83.1", "100.127.83.5", "100.127.84.1", "100.127.84.5"
PORT = 18713
LISTEN = f"""
import socket
server = socket.create_server(("0.0.0.0", {PORT}))
print("up", flush=True)
while True:
    server.accept()[0].close()
"""
PING = f"""
import socket
ping = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
ping.settimeout(2)
ping.sendto(bytes.fromhex("0800f7ff00000000"), ("{HOST}", 0))
assert ping.recv(1000)[20] == 0  # an echo's answer
"""


@contextmanager
def namespace(name: str) -> Iterator[list[str]]:
    run(["ip", "netns", "add", name])
    try:
        run(["ip", "-netns", name, "link", "set", "lo", "up"])
        yield ["ip", "netns", "exec", name]
    finally:
        run(["ip", "netns", "delete", name])


@contextmanager
def listener(*prefix: str) -> Iterator[None]:
    with subprocess.Popen([*prefix, "python3", "-c", LISTEN], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield
        finally:
            server.kill()


@dataclass(frozen=True)
class Scene:
    """The host's port, and whom it is beside."""

    port: HostPort
    beside: list[str]

    def reaches(self, address: str, *, beside: bool = True) -> bool:
        """Whether a TCP connection is made, from the machine beside the host or from the host."""
        program = f"import socket; socket.create_connection(('{address}', {PORT}), 1)"
        argv = [*(self.beside if beside else ()), "python3", "-c", program]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def pings(self) -> bool:
        argv = [*self.beside, "python3", "-c", PING]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@contextmanager
def other_network() -> Iterator[None]:
    """Where the host leads: another address of it, and a machine that has it as its gateway."""
    with namespace(BEHIND) as inside:
        outer = f"atb{os.getpid()}"
        run(["ip", "link", "add", outer, "type", "veth", "peer", "eth0", "netns", BEHIND])
        try:
            run(["ip", "address", "add", f"{ELSEWHERE}/24", "dev", outer])
            run(["ip", "link", "set", outer, "up"])
            run([*inside, "ip", "address", "add", f"{CLIENT}/24", "dev", "eth0"])
            run([*inside, "ip", "link", "set", "eth0", "up"])
            run([*inside, "ip", "route", "add", "default", "via", ELSEWHERE])
            with listener(*inside):
                yield
        finally:
            run(["ip", "link", "delete", outer])


@pytest.fixture
def forwarding() -> Iterator[None]:
    """The host forwards, as a network node does."""
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    before = switch.read_text()
    switch.write_text("1")
    yield
    switch.write_text(before)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    settings = OpenStackSettings(
        state_dir=tmp_path,
        service_network_cidr="100.127.83.0/24",
        service_network_interface="linuxbridge",
    )
    with ExitStack() as stack:
        neutron, api = stack.enter_context(neutron_double())
        neutron.address = HOST
        beside = stack.enter_context(namespace(BESIDE))
        port = HostPort(NeutronNetworks(api, DEPLOYMENT, settings), settings)
        stack.callback(port.remove)
        port.ensure()
        (name,) = (tmp_path / "host-port").read_text().split()
        agents = name.replace("ns-", "tap")
        run(["ip", "link", "set", agents, "netns", BESIDE])
        run([*beside, "ip", "address", "add", f"{INSTANCE}/25", "dev", agents])
        run([*beside, "ip", "link", "set", agents, "up"])
        run([*beside, "ip", "route", "add", "default", "via", HOST])
        stack.enter_context(listener(*beside))
        yield Scene(port, beside)


@pytest.mark.usefixtures("forwarding")
def test_the_service_network_reaches_nothing_of_the_host(scene: Scene) -> None:
    with listener(), other_network():
        for address in (HOST, ELSEWHERE, CLIENT):
            assert not scene.reaches(address), address
        assert scene.pings()
        assert scene.reaches(INSTANCE, beside=False), "the host may talk to instances"
        run(["nft", "delete", "table", "inet", TABLE])
        for address in (HOST, ELSEWHERE, CLIENT):
            assert scene.reaches(address), f"it was the rules: {address}"


CHANGES = {
    "the table": ["delete", "table", "inet", TABLE],
    "all rules of it": ["flush", "table", "inet", TABLE],
    "one chain's rules": ["flush", "chain", "inet", TABLE, "input"],
    "an exception": ["insert", "rule", "inet", TABLE, "input", "tcp", "dport", "22", "accept"],
    "it sleeps": ["add", "table", "inet", TABLE, "{ flags dormant; }"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_rules_that_somebody_changes_are_written_again(scene: Scene, change: str) -> None:
    assert scene.port.is_guarded()
    assert not scene.port.guard(), "nothing to do"
    run(["nft", *CHANGES[change]])
    assert not scene.port.is_guarded()
    assert scene.port.guard()
    assert scene.port.is_guarded()
    with listener():
        assert not scene.reaches(HOST)


def test_the_rules_go_with_the_port(scene: Scene) -> None:
    scene.port.remove()
    assert TABLE not in run(["nft", "list", "tables"])
    assert scene.port.is_guarded(), "there is nothing to keep shut"
    assert not scene.port.guard()
