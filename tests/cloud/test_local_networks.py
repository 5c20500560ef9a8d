"""Who reaches whom on the cloud ``local``: machines made of network namespaces, on real bridges."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from atoll.cloud.base import Finding, Network
from atoll.cloud.local import LocalCloud
from atoll.cloud.local.bridge import bridge_name, bridge_prefix
from atoll.cloud.local.networks import NetworkRecord
from atoll.cloud.program import run

from .local_place import local_place, make_local
from .site import owner

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

PORT = 18711
LISTEN = f"""
import socket
server = socket.create_server(("0.0.0.0", {PORT}))
print("up", flush=True)
while True:
    server.accept()[0].close()
"""
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with local_place() as place:
        # Other tests of this cloud run at the same time.
        yield make_local(
            place, "net", service_network="10.252.0.0/24", share_networks="10.87.0.0/16"
        )


@dataclass(frozen=True)
class Machine:
    """A network namespace with one interface, plugged in as libvirt does it."""

    name: str
    address: str

    def reaches(self, address: str) -> bool:
        """Whether a TCP connection to the listener there is made."""
        program = f"import socket; socket.create_connection(('{address}', {PORT}), 2)"
        argv = ["ip", "netns", "exec", self.name, "python3", "-c", program]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@contextmanager
def listener(*prefix: str) -> Iterator[None]:
    with subprocess.Popen([*prefix, "python3", "-c", LISTEN], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield
        finally:
            server.kill()


@contextmanager
def machine(name: str, network: Network, host: int, *, isolated: bool) -> Iterator[Machine]:
    prefix, _, length = network.subnets[0].cidr.rpartition("/")
    base = prefix.rpartition(".")[0]
    inside = ["ip", "netns", "exec", name]
    run(["ip", "netns", "add", name])
    with ExitStack() as stack:
        stack.callback(run, ["ip", "netns", "delete", name])
        run(["ip", "link", "add", f"{name}-o", "type", "veth", "peer", "eth0", "netns", name])
        # A deleted namespace's interfaces go later, and the next machine may have the same name.
        stack.callback(run, ["ip", "link", "delete", f"{name}-o"])
        run(["ip", "link", "set", f"{name}-o", "master", network.device, "up"])
        if isolated:
            run(["bridge", "link", "set", "dev", f"{name}-o", "isolated", "on"])
        run([*inside, "ip", "address", "add", f"{base}.{host}/{length}", "dev", "eth0"])
        run([*inside, "ip", "link", "set", "eth0", "up"])
        run([*inside, "ip", "link", "set", "lo", "up"])
        run([*inside, "ip", "route", "add", "default", "via", f"{base}.1"])
        with listener(*inside):
            yield Machine(name, f"{base}.{host}")


@pytest.fixture(scope="module")
def forwarding() -> Iterator[None]:
    """The host forwards, as many do; our bridges must not take part."""
    before = FORWARD.read_text()
    FORWARD.write_text("1")
    yield
    FORWARD.write_text(before)


@pytest.mark.usefixtures("forwarding")
def test_share_networks_are_worlds_of_their_own(cloud: LocalCloud) -> None:
    service = cloud.networks.service_network()
    one = cloud.networks.create_network(owner("share_network"))
    two = cloud.networks.create_network(owner("share_network"))
    with ExitStack() as stack:
        a = stack.enter_context(machine("at-a", one, 2, isolated=False))
        b = stack.enter_context(machine("at-b", one, 3, isolated=False))
        c = stack.enter_context(machine("at-c", two, 2, isolated=False))
        s = stack.enter_context(machine("at-s", service, 2, isolated=True))
        t = stack.enter_context(machine("at-t", service, 3, isolated=True))
        stack.enter_context(listener())
        assert a.reaches(b.address), "neighbours on a share network see each other"
        for stranger in (c.address, s.address):
            assert not a.reaches(stranger), "nothing passes from one bridge to another"
        assert not s.reaches(t.address), "instances on the service network are kept apart"
        for who, network in ((a, one), (c, two), (s, service)):
            host = network.subnets[0].cidr.rpartition(".")[0] + ".1"
            assert not who.reaches(host), "the host's ports are closed to instances"
        for other in (a, c, s):
            program = f"import socket; socket.create_connection(('{other.address}', {PORT}), 2)"
            run(["python3", "-c", program])  # the host may talk to everybody
        run(["nft", "flush", "table", "inet", "atoll_net"])
        assert a.reaches(service.subnets[0].cidr.rpartition(".")[0] + ".1"), "it was the rules"
    cloud.networks.delete_network(one.id)
    cloud.networks.delete_network(two.id)


def test_rules_come_back_with_the_next_process(cloud: LocalCloud) -> None:
    network = cloud.networks.service_network()
    run(["nft", "delete", "table", "inet", "atoll_net"])  # as a reboot of the host does
    again = LocalCloud(cloud.deployment, cloud.settings)
    assert again.networks.service_network() == network
    assert network.device in run(["nft", "list", "table", "inet", "atoll_net"])
    again.close()


def test_a_range_in_use_is_not_taken(cloud: LocalCloud) -> None:
    run(["ip", "address", "add", "10.87.0.1/23", "dev", "lo"])
    try:
        made = cloud.networks.create_network(owner("share_network"))
        assert made.subnets[0].cidr == "10.87.2.0/24"
        cloud.networks.delete_network(made.id)
    finally:
        run(["ip", "address", "delete", "10.87.0.1/23", "dev", "lo"])


def test_a_range_that_is_taken_just_then_is_given_up(cloud: LocalCloud) -> None:
    """Another deployment may choose the same range in the same moment."""
    who, network_id = owner("share_network"), str(uuid4())
    networks = cloud.networks
    device = bridge_name("net", network_id)
    chosen = NetworkRecord(network_id, who, "10.87.0.0/24", device, is_new=True)
    networks.records.find_or_create(lambda _: False, lambda: chosen)
    run(["ip", "link", "add", "at-taken", "type", "bridge"])
    try:
        run(["ip", "address", "add", "10.87.0.1/24", "dev", "at-taken"])
        run(["ip", "link", "set", "at-taken", "up"])
        made = networks.create_network(who)
        assert made.subnets[0].cidr == "10.87.1.0/24"
        assert network_id not in [network.id for network in networks.list_networks()]
        assert networks.create_network(who) == made
        assert not networks.records.expect(made.id).is_new
        networks.delete_network(made.id)
    finally:
        run(["ip", "link", "delete", "at-taken"])


def _finding(cloud: LocalCloud) -> Finding:
    (found,) = [each for each in cloud.check() if each.check == "Isolation"]
    return found


CHANGES = {
    "all rules": ["delete", "table", "inet", "atoll_net"],
    "one chain's rules": ["flush", "chain", "inet", "atoll_net", "forward"],
    "an exception": ["insert", "rule", "inet", "atoll_net", "input", "accept"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_rules_that_somebody_changes_are_written_again(cloud: LocalCloud, change: str) -> None:
    network = cloud.networks.service_network()
    with machine("at-a", network, 2, isolated=True) as a, listener():
        assert cloud.tend() == []
        assert _finding(cloud).ok
        run(["nft", *CHANGES[change]])
        assert not _finding(cloud).ok
        assert len(cloud.tend()) == 1
        assert _finding(cloud).ok
        assert not a.reaches(network.subnets[0].cidr.rpartition(".")[0] + ".1")


def test_instances_that_somebody_lets_see_each_other_are_kept_apart_again(
    cloud: LocalCloud,
) -> None:
    network = cloud.networks.service_network()
    with (
        machine("at-a", network, 2, isolated=True) as a,
        machine("at-b", network, 3, isolated=True) as b,
    ):
        flags = [Path(f"/sys/class/net/{each.name}-o/brport/isolated") for each in (a, b)]
        for flag in flags:
            flag.write_text("0")
        assert not _finding(cloud).ok
        assert len(cloud.tend()) == 2
        assert [flag.read_text().strip() for flag in flags] == ["1", "1"]
        assert not a.reaches(b.address)


ACCIDENTS: dict[str, Callable[[str], object]] = {
    "bridge": lambda device: run(["ip", "link", "delete", device]),
    "address": lambda device: run(["ip", "address", "flush", "dev", device]),
    "DHCP server": lambda device: _end(f"/{device}.conf"),
}


def _end(sign: str) -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and sign.encode() in _words(entry):
            with suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)


def _words(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("what", ACCIDENTS)
def test_networks_that_somebody_breaks_are_mended(cloud: LocalCloud, what: str) -> None:
    network = cloud.networks.create_network(owner("share_network"))
    assert cloud.tend(wholly=True) == []
    ACCIDENTS[what](network.device)
    done = cloud.tend(wholly=True)
    assert done == [f"The network {network.device} lacked its {what}."]
    deadline = time.monotonic() + 20
    while cloud.tend(wholly=True) and time.monotonic() < deadline:
        time.sleep(0.2)  # dnsmasq needs a moment to become what it is called
    assert cloud.tend(wholly=True) == []
    cloud.networks.delete_network(network.id)


def test_a_purge_leaves_nothing(cloud: LocalCloud) -> None:
    network = cloud.networks.create_network(owner("share_network"))
    cloud.networks.create_port(owner("share_server"), network.id)
    volume = cloud.volumes.create_volume(owner(), 1)
    cloud.volumes.create_snapshot(owner("snapshot"), volume.id)
    shutil.rmtree(cloud.networks.records.path(network.id))  # even what no record tells of
    found = cloud.leftovers()
    for kind in ("network", "interface", "process", "firewall table", "file"):
        assert any(line.startswith(kind) for line in found), kind
    cloud.purge()
    assert cloud.leftovers() == []
    assert not list(Path("/sys/class/net").glob(f"{bridge_prefix(cloud.deployment)}*"))
    cloud.purge()
