"""How workers come to instances: who is let in, and what ``atoll doctor`` says of the way."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest

from atoll.cli.doctor import examine
from atoll.cloud import sole
from atoll.cloud.base import Access, Finding, Identity, Instance, InstanceSpec
from atoll.cloud.openstack import OpenStackCloud
from atoll.cloud.openstack.api import Api
from atoll.cloud.openstack.channels import Channels
from atoll.cloud.openstack.networks import NeutronNetworks
from atoll.config import Cidr, Driver, OpenStack, Settings, SshHost
from atoll.errors import GuestUnreachable
from atoll.guest.ssh import await_banner

from .instance_double import hears, instance_double
from .neutron_double import NeutronDouble, neutron_double
from .openstack_packets import dhcp_server, falls_silent
from .openstack_place import make_openstack, on_openstack, openstack_settings, users_network
from .site import BOOT_SECONDS, key_pair, owner

HOME = "10.240.0.0/16"
NOBODY = Access("atoll", "127.0.0.1", "PRIVATE", "ssh-ed25519 PUBLIC")


@pytest.fixture
def double() -> Iterator[tuple[NeutronDouble, Api]]:
    with neutron_double() as made:
        yield made


def worker(api: Api, place: Path, *cidrs: str, **changes: Any) -> tuple[NeutronNetworks, Channels]:
    """A worker that has just been started."""
    options = {"service_network_interface": "none", "ssh_source_cidrs": cidrs} | changes
    settings = openstack_settings(place, **options)
    networks = NeutronNetworks(api, "ways", settings)
    return networks, Channels(networks, settings)


def let_in(server: NeutronDouble) -> set[tuple[str, str, int]]:
    (group,) = server.things["security_groups"].values()
    return {
        (rule["ethertype"], rule["remote_ip_prefix"], rule["port_range_min"])
        for rule in group["security_group_rules"]
        if rule["direction"] == "ingress"
    }


def test_ssh_is_let_in_from_where_workers_are_now(
    double: tuple[NeutronDouble, Api], tmp_path: Path
) -> None:
    """An instance that is there keeps up with the options, in both directions."""
    server, api = double
    networks, _ = worker(api, tmp_path)
    networks.create_port("share_server/1", networks.service_network().id)
    assert let_in(server) == {("IPv4", HOME, 22)}

    _, channels = worker(api, tmp_path, "192.0.2.0/24", "2001:db8::/32")
    with pytest.raises(GuestUnreachable):
        channels.open(NOBODY, 0.1)
    everywhere = {("IPv4", HOME, 22), ("IPv4", "192.0.2.0/24", 22), ("IPv6", "2001:db8::/32", 22)}
    assert let_in(server) == everywhere
    asked = len(server.requests)
    with pytest.raises(GuestUnreachable):
        channels.open(NOBODY, 0.1)
    assert len(server.requests) == asked  # once for each worker is enough

    _, channels = worker(api, tmp_path, "192.0.2.0/24")
    with pytest.raises(GuestUnreachable):
        channels.open(NOBODY, 0.1)
    assert let_in(server) == everywhere - {("IPv6", "2001:db8::/32", 22)}


def test_an_instance_that_is_made_later_has_the_same_rules(
    double: tuple[NeutronDouble, Api], tmp_path: Path
) -> None:
    server, api = double
    networks, _ = worker(api, tmp_path, "192.0.2.0/24")
    networks.create_port("share_server/1", networks.service_network().id)
    assert let_in(server) == {("IPv4", HOME, 22), ("IPv4", "192.0.2.0/24", 22)}


def test_instances_are_reached_while_neutron_is_away(
    double: tuple[NeutronDouble, Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are let in as the options say as soon as Neutron is back; nobody waits for that."""
    monkeypatch.setattr(sole, "TRIES", 1)
    monkeypatch.setattr("atoll.cloud.openstack.channels.PAUSE", 1.0)
    server, api = double
    networks, _ = worker(api, tmp_path)
    networks.create_port("share_server/1", networks.service_network().id)
    _, channels = worker(api, tmp_path, "192.0.2.0/24")

    def login() -> int:
        """Somebody tries, at an address where no ssh is; how much Neutron was asked for it."""
        before = len(server.requests)
        with pytest.raises(GuestUnreachable, match="No SSH server answers"):
            channels.open(NOBODY, 0.1)
        return len(server.requests) - before

    server.is_away = True
    assert login() > 0
    assert login() == 0
    server.is_away = False
    time.sleep(1)
    assert login() > 0
    assert let_in(server) == {("IPv4", HOME, 22), ("IPv4", "192.0.2.0/24", 22)}


def test_nothing_is_made_where_there_is_no_instance(
    double: tuple[NeutronDouble, Api], tmp_path: Path
) -> None:
    server, api = double
    networks, _ = worker(api, tmp_path, "192.0.2.0/24")
    networks.admit_workers()
    assert server.things == {}


def test_an_administrators_network_lets_workers_in_too(
    double: tuple[NeutronDouble, Api], tmp_path: Path
) -> None:
    server, api = double
    given = server.post("networks", {"name": "admins"})["id"]
    server.post("subnets", {"network_id": given, "cidr": "10.97.5.0/24", "ip_version": 4})
    networks, _ = worker(api, tmp_path, admin_network_id=given)
    networks.create_port("share_server/1", given)
    assert list(server.things["networks"]) == [given]  # ours isn't needed
    assert let_in(server) == {("IPv4", "10.97.5.0/24", 22)}
    networks, _ = worker(api, tmp_path, "192.0.2.0/24", admin_network_id=given)
    networks.admit_workers()
    assert let_in(server) == {("IPv4", "10.97.5.0/24", 22), ("IPv4", "192.0.2.0/24", 22)}


# --- on a real one ----------------------------------------------------------------------------

WAY = "Way to instances"


def found(cloud: OpenStackCloud, check: str) -> Finding:
    """What ``atoll doctor`` says about something."""
    return next(finding for finding in cloud.check() if finding.check == check)


@on_openstack
def test_a_routed_worker_is_let_in_and_shut_out_again(tmp_path: Path) -> None:
    """It is where the DHCP server of a network behind a router is."""
    workers = "10.97.9.0/24"
    cloud = make_openstack(tmp_path, "routed", service_network_interface="none")
    networks = cloud.networks
    with ExitStack() as stack:
        stack.callback(cloud.close)
        stack.callback(cloud.purge)
        service = networks.service_network()
        subnet = networks.create_subnet(
            owner("share_server"), service.id, "10.240.144.0/28", gateway=True
        )
        assert subnet.gateway is not None
        users = stack.enter_context(
            users_network(networks.neutron.api, workers, gateway=True, router=True)
        )
        stack.callback(cloud.purge)
        dhcp_server(cloud, users.subnet_id)
        port = networks.create_port(owner("share_server"), service.id, subnet.id)
        networks.connect_router(subnet.id, users.subnet_id)
        address = port.addresses[0]
        stack.enter_context(instance_double(cloud, port, subnet.gateway, 22, 2049))
        assert hears(users.network_id, address, 2049, 60)  # there is a way
        assert not hears(users.network_id, address, 22, 5)
        for cidrs, is_let_in in (((Cidr(workers),), True), ((), False)):
            restarted = make_openstack(
                tmp_path, "routed", service_network_interface="none", ssh_source_cidrs=cidrs
            )
            with pytest.raises(GuestUnreachable):  # nobody is there who could speak
                restarted.open_guest("", Access("atoll", address, "", "ssh-ed25519 KEY"), 1)
            restarted.close()
            if is_let_in:
                assert hears(users.network_id, address, 22, 60)
            else:
                assert falls_silent(users.network_id, address, 22)


@on_openstack
def test_doctor_looks_for_this_hosts_agent(tmp_path: Path) -> None:
    for host, is_right in (("", True), ("no-such-host", False)):
        changes = {"service_network_host": host} if host else {}
        cloud = make_openstack(tmp_path, "agents", **changes)
        finding = found(cloud, WAY)
        cloud.close()
        assert finding.ok is is_right, finding
        assert is_right or "service_network_host" in finding.todo


@on_openstack
@pytest.mark.parametrize("interface", ["none", "linuxbridge"])
def test_doctor_knows_which_layout_needs_a_port_of_the_host(
    tmp_path: Path, interface: Literal["none", "linuxbridge"]
) -> None:
    settings = Settings(
        state_dir=tmp_path,
        cloud="openstack",
        openstack=OpenStack(
            cloud=os.environ.get("OS_CLOUD", ""), service_network_interface=interface
        ),
        driver=Driver(connect_share_server_to_tenant_network=False),
    )
    finding = next(each for each in examine(settings) if each.check == "Service network's range")
    assert finding.ok is (interface != "none"), finding
    assert finding.ok or "bastion" in finding.detail


class Gate:
    """Instances in two networks: one that we are in, and the service network that we aren't in."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.place = place
        self.key, self.public_key = key_pair()
        self.host_key, self.host_key_public = key_pair()
        (place / "key").write_text(self.key)
        (place / "key").chmod(0o600)
        self.inside = make_openstack(place, "behind", service_network_interface="none")
        stack.callback(self.inside.close)
        stack.callback(self.inside.purge)
        self.service = self.inside.networks.service_network()
        users = stack.enter_context(
            users_network(
                self.inside.networks.neutron.api, "10.97.10.0/24", gateway=False, router=False
            )
        )
        self.outside = make_openstack(place, "gate", admin_network_id=users.network_id)
        stack.callback(self.outside.close)
        stack.callback(self.outside.purge)
        self.here = self.outside.networks.create_port(owner("share_server"), users.network_id)
        there = self.inside.networks.create_port(owner("share_server"), self.service.id)
        self.boot(self.outside, self.here.owner, self.here.id, there.id)
        self.address = self.here.addresses[0]

    def boot(self, cloud: OpenStackCloud, who: str, *port_ids: str) -> Instance:
        """A service instance on these ports."""
        identity = Identity("atoll", self.public_key, self.host_key, self.host_key_public, "gate")
        image = cloud.images.service_image()
        spec = InstanceSpec(who, "gate", image.id, port_ids, identity)
        made = cloud.compute.create_instance(spec)
        instance = cloud.compute.wait_for_instance(made.id, BOOT_SECONDS)
        for each in (self.inside, self.outside):  # the gate has a port of both
            each.compute.connect_ports(made.id, BOOT_SECONDS)
        return instance

    def access(self, address: str) -> Access:
        return Access("atoll", address, self.key, self.host_key_public)

    def allow_forwarding(self) -> None:
        """Make a bastion of it: no service instance is one by itself."""
        self.outside.open_guest("", self.access(self.address), BOOT_SECONDS).close()
        hosts = self.place / "hosts"
        hosts.write_text(f"{self.address} {self.host_key_public}\n")
        argv = ["ssh", "-F", "none", "-i", str(self.place / "key"), "-o", "BatchMode=yes"]
        argv += ["-o", f"UserKnownHostsFile={hosts}", f"atoll@{self.address}"]
        script = (
            "sed -i 's/^DisableForwarding.*/AllowTcpForwarding yes/' /etc/ssh/sshd_config"
            " && systemctl restart ssh"
        )
        done = subprocess.run(
            [*argv, "sudo -n sh"], input=script.encode(), timeout=120, capture_output=True
        )
        assert done.returncode == 0, done.stderr

    def worker(self, host_key: str) -> OpenStackCloud:
        """A worker that knows the bastion, which it believes to have this key."""
        return make_openstack(
            self.place,
            "behind",
            service_network_interface="none",
            ssh_proxy_jump=SshHost(f"atoll@{self.address}"),
            ssh_proxy_private_key=self.place / "key",
            ssh_proxy_host_key=host_key,
        )


@on_openstack
@pytest.mark.timeout(900)
def test_an_instance_is_reached_through_a_bastion(tmp_path: Path) -> None:
    with ExitStack() as stack:
        gate = Gate(tmp_path, stack)
        gate.allow_forwarding()
        worker = gate.worker(gate.host_key_public)
        stack.callback(worker.close)
        assert found(worker, WAY).ok  # with no instance yet: the bastion lets us in
        port = gate.inside.networks.create_port(owner("share_server"), gate.service.id)
        instance = gate.boot(gate.inside, port.owner, port.id)
        address = port.addresses[0]
        with pytest.raises(GuestUnreachable):  # there is no other way
            await_banner(address, 22, 3)
        guest = worker.open_guest(instance.id, gate.access(address), BOOT_SECONDS)
        assert guest.health().uptime_seconds > 0
        guest.close()
        finding = found(worker, WAY)
        assert finding.ok, finding
        assert address in finding.detail

        _, false = key_pair()
        misled = gate.worker(false)
        stack.callback(misled.close)
        finding = found(misled, WAY)
        assert not finding.ok
        assert "Host key verification failed" in finding.detail
        with pytest.raises(GuestUnreachable, match="Host key verification failed"):
            misled.open_guest(instance.id, gate.access(address), 20)
        posing = Access("atoll", address, gate.key, false)
        with pytest.raises(GuestUnreachable, match="Host key verification failed"):
            worker.open_guest(instance.id, posing, 20)
