"""How workers come to instances: who is let in, and what ``atoll doctor`` says of the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.cloud.base import Access
from atoll.cloud.openstack.api import Api
from atoll.cloud.openstack.channels import Channels
from atoll.cloud.openstack.networks import NeutronNetworks
from atoll.errors import GuestUnreachable

from .neutron_double import NeutronDouble, neutron_double
from .openstack_place import openstack_settings

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
    assert let_in(server) == {("IPv4", "10.97.5.0/24", 22)}
    networks, _ = worker(api, tmp_path, "192.0.2.0/24", admin_network_id=given)
    networks.admit_workers()
    assert let_in(server) == {("IPv4", "10.97.5.0/24", 22), ("IPv4", "192.0.2.0/24", 22)}
