"""Where instances are put, and what they boot from: what only Nova and Cinder have."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from atoll.cloud.base import Identity, InstanceSpec
from atoll.cloud.openstack import OpenStackCloud
from atoll.cloud.openstack.api import Api, Json
from atoll.cloud.openstack.server_groups import ServerGroups
from atoll.errors import CloudUnavailable

from .instance_double import hears
from .neutron_double import NeutronDouble, neutron_double
from .openstack_place import make_openstack, users_network
from .site import BOOT_SECONDS, Site, key_pair, nfs, owner

POLICY = "soft-anti-affinity"


@pytest.fixture
def double() -> Iterator[tuple[NeutronDouble, Api]]:
    with neutron_double() as made:
        yield made


def test_there_is_one_server_group_for_each_policy(double: tuple[NeutronDouble, Api]) -> None:
    server, api = double
    groups = ServerGroups(api, "one", POLICY)
    assert groups.hints() == groups.hints() == ServerGroups(api, "one", POLICY).hints()
    others = ServerGroups(api, "other", POLICY).hints()
    stricter = ServerGroups(api, "one", "anti-affinity").hints()
    found = {each["id"]: each for each in server.things["server_groups"].values()}
    assert len(found) == 3
    hinted = found[groups.hints()["os:scheduler_hints"]["group"]]
    assert hinted["policy"] == POLICY
    assert others != stricter
    groups.purge()
    assert list(server.things["server_groups"]) == [others["os:scheduler_hints"]["group"]]


def test_without_a_policy_there_is_no_group(double: tuple[NeutronDouble, Api]) -> None:
    server, api = double
    assert ServerGroups(api, "one", "none").hints() == {}
    assert server.requests == []


def chosen(groups: ServerGroups) -> Json:
    """The hints by which a server would be made, as soon as that does not fail."""
    while True:
        hints = groups.hints()
        with suppress(CloudUnavailable):
            groups.expect(hints)
            return hints


def test_a_group_that_another_worker_has_removed_is_not_used(
    double: tuple[NeutronDouble, Api],
) -> None:
    server, api = double
    groups = ServerGroups(api, "one", POLICY)
    hints = groups.hints()
    groups.expect(hints)
    groups.expect({})
    server.things["server_groups"].clear()
    with pytest.raises(CloudUnavailable):
        groups.expect(hints)
    groups.expect(groups.hints())


def test_workers_that_make_the_group_at_once_agree(double: tuple[NeutronDouble, Api]) -> None:
    server, api = double
    server.hold = threading.Barrier(4, action=lambda: setattr(server, "hold", None))
    with ThreadPoolExecutor(4) as pool:
        hints = list(pool.map(lambda _: chosen(ServerGroups(api, "one", POLICY)), range(4)))
    (left,) = server.things["server_groups"]
    assert {each["os:scheduler_hints"]["group"] for each in hints} == {left}


# --- on a real one ----------------------------------------------------------------------------


@pytest.fixture
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStackCloud]:
    made = make_openstack(
        tmp_path_factory.mktemp("state"),
        "roots",
        service_instance_boot_volume_gib=2,
        service_instance_server_group=POLICY,
    )
    yield made
    made.purge()
    left = made.leftovers()
    made.close()
    assert left == []


@pytest.mark.openstack
@pytest.mark.timeout(900)
def test_an_instance_boots_from_a_volume_that_dies_with_it(real: OpenStackCloud) -> None:
    private, public = key_pair()
    who = Identity("atoll", public, *key_pair(), "roots")
    image = real.images.service_image()
    server = owner("share_server")
    # A worker was killed after it had made the volume, before it could ask for the instance.
    begun = real.volumes.create_root_volume(server, 2, image_id=image.id)
    network = real.networks.create_network(owner("share_network"))
    service_port = real.networks.create_port(server, real.networks.service_network().id)
    share_port = real.networks.create_port(server, network.id)
    spec = InstanceSpec(server, "roots", image.id, (service_port.id, share_port.id), who)
    made = real.compute.create_instance(spec)
    assert real.compute.create_instance(spec).id == made.id
    instance = real.compute.wait_for_instance(made.id, BOOT_SECONDS)
    real.compute.connect_ports(made.id, BOOT_SECONDS)
    site = Site(real, network, service_port, share_port, who, private, instance)
    (root,) = real.volumes.list_volumes()
    assert root.id != begun.id
    assert (root.owner, root.instance_id, root.size_gib) == (server, instance.id, 2)
    assert instance.volume_ids == ()

    nova = Api(real._connection, "compute", "2.79")
    (group,) = real.groups.ours()
    found = nova.get(f"/servers/{instance.id}")["server"]
    assert (found["server_groups"], group["policy"]) == ([group["id"]], POLICY)
    assert any(group["id"] in line for line in real.leftovers())

    guest = site.open_guest()
    volume = site.attached_volume()
    assert guest.apply_share(nfs("root-1", volume, "10.0.0.1"), fence=1).formatted
    seen = real.compute.get_instance(instance.id)
    assert seen is not None
    assert seen.volume_ids == (volume.id,)
    guest.close()

    real.compute.delete_instance(instance.id)
    assert [each.id for each in real.volumes.list_volumes()] == [volume.id]
    assert real.volumes.list_volumes()[0].instance_id is None
    real.volumes.delete_volume(volume.id)


@pytest.mark.openstack
@pytest.mark.timeout(900)
def test_clients_reach_an_instance_by_both_kinds_of_addresses(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """In a network of the user's that has IPv4 and IPv6, as its router tells."""
    cloud = make_openstack(tmp_path_factory.mktemp("state"), "six")
    api = cloud.networks.neutron.api
    with ExitStack() as stack:
        stack.callback(cloud.close)
        stack.callback(cloud.purge)
        users = stack.enter_context(users_network(api, "10.97.11.0/24", gateway=True, router=True))
        wish = {"network_id": users.network_id, "cidr": "fd00:97:11::/64", "ip_version": 6}
        wish |= {"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}
        sixth = api.post("/subnets", {"subnet": wish})["subnet"]["id"]
        api.put(f"/routers/{users.router_id}/add_router_interface", {"subnet_id": sixth})
        stack.callback(cloud.purge)
        server = owner("share_server")
        service_port = cloud.networks.create_port(server, cloud.networks.service_network().id)
        share_port = cloud.networks.create_port(server, users.network_id)
        four, six = share_port.addresses
        assert ":" not in four
        assert six.startswith("fd00:97:11:")
        _, public = key_pair()
        who = Identity("atoll", public, *key_pair(), "six")
        image = cloud.images.service_image()
        spec = InstanceSpec(server, "six", image.id, (service_port.id, share_port.id), who)
        made = cloud.compute.create_instance(spec)
        cloud.compute.wait_for_instance(made.id, BOOT_SECONDS)
        cloud.compute.connect_ports(made.id, BOOT_SECONDS)
        for address in (four, six):
            assert hears(users.network_id, address, 2049, BOOT_SECONDS), address
            assert not hears(users.network_id, address, 22, 3), address
