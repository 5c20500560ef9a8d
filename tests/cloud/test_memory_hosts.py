"""Hosts of the simulated cloud that are cut off, and what their instances then do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from atoll.cloud.base import Volume
from atoll.cloud.memory import MemoryCloud
from atoll.errors import CloudUnavailable, GuestUnreachable, InstanceMayStillRun

from .site import Site, nfs, owner, running_site


@pytest.fixture
def site(memory: MemoryCloud) -> Iterator[Site]:
    with running_site(memory) as running:
        yield running
        for volume in memory.volumes.list_volumes():
            memory.lose_volume_attachment(volume.id)


def second(site: Site) -> str:
    """Another instance, which takes over."""
    port = site.cloud.networks.create_port(owner(), site.cloud.networks.service_network().id)
    spec = replace(site.spec, owner=owner("share_server"), port_ids=(port.id,))
    return site.cloud.compute.create_instance(spec).id


def served(site: Site) -> Volume:
    volume = site.attached_volume()
    site.open_guest().apply_share(nfs("s1", volume, "10.0.0.1"), fence=1)
    return volume


def test_an_instance_that_is_cut_off_serves_its_clients(memory: MemoryCloud, site: Site) -> None:
    volume = served(site)
    mount = memory.client("10.0.0.1").mount(site.location(nfs("s1", volume)))
    memory.faults.cut_off(site.instance.id)
    with pytest.raises(GuestUnreachable):
        site.open_guest()
    with pytest.raises(CloudUnavailable):
        memory.compute.reboot_instance(site.instance.id)
    mount.write("a", b"data")
    memory.faults.clear()
    assert mount.read("a") == b"data"
    assert site.open_guest().health().shares


def test_one_that_was_deleted_writes_on(memory: MemoryCloud, site: Site) -> None:
    volume = served(site)
    memory.faults.cut_off(site.instance.id)
    memory.compute.delete_instance(site.instance.id)
    assert memory.compute.get_instance(site.instance.id) is None
    with pytest.raises(InstanceMayStillRun):
        memory.compute.fence_instance(site.instance.id)
    memory.compute.attach_volume(second(site), volume.id)
    [accident] = memory.accidents()
    assert f"instance {site.instance.id} still wrote" in accident


@pytest.mark.parametrize("way", ["the host comes back", "the host is switched off"])
def test_one_that_was_deleted_ends_with_its_host(memory: MemoryCloud, site: Site, way: str) -> None:
    volume = served(site)
    memory.faults.cut_off(site.instance.id)
    memory.compute.delete_instance(site.instance.id)
    if way == "the host comes back":
        memory.faults.clear()
    else:
        memory.force_down(site.instance.id)
    memory.compute.fence_instance(site.instance.id)
    memory.compute.attach_volume(second(site), volume.id)
    assert memory.accidents() == []


def test_nothing_is_deleted_before_it_can_be_proved(memory: MemoryCloud, site: Site) -> None:
    served(site)
    memory.faults.cut_off(site.instance.id)
    with pytest.raises(InstanceMayStillRun):
        memory.compute.fence_instance(site.instance.id)
    assert memory.compute.get_instance(site.instance.id) is not None
    memory.force_down(site.instance.id)
    memory.compute.fence_instance(site.instance.id)
    assert memory.compute.get_instance(site.instance.id) is None
