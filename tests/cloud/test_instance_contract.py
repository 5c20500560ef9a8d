"""What every cloud's instances and their guests do, on one booted service instance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from atoll.errors import (
    CloudError,
    CloudNotFound,
    DeviceNotBlank,
    FreezeLost,
    GuestBusy,
    GuestError,
    GuestUnreachable,
    StaleFence,
    VolumeInUse,
)
from atoll.guest.base import ExportRule, Freeze, Guest, ServedShare, digest
from atoll.guest.pool import GuestPool
from harness.wait import wait

from .site import BOOT_SECONDS, Site, clear_volumes, nfs, owner, rules

GIB = 1 << 30


@pytest.fixture(scope="module")
def pool() -> Iterator[GuestPool]:
    """Keeps the channel, as it does for the driver: opening one takes an emulated guest seconds."""
    kept = GuestPool()
    yield kept
    kept.close()


def channel(site: Site, pool: GuestPool) -> Guest:
    """The one that is open, or another where it was lost."""

    def connect(_: float) -> Guest:
        return site.open_guest()

    guest = pool.get(site.instance.id, connect, BOOT_SECONDS)
    try:
        guest.health()
    except GuestUnreachable:
        guest = pool.get(site.instance.id, connect, BOOT_SECONDS)
    return guest


@pytest.fixture
def guest(site: Site, pool: GuestPool) -> Guest:
    return channel(site, pool)


@pytest.fixture(autouse=True)
def _tidy(site: Site, pool: GuestPool) -> Iterator[None]:
    """Each test leaves neither a share nor a volume."""
    yield
    guest = channel(site, pool)
    for share in guest.health().shares:
        guest.remove_share(share.share_id, f"/shares/{share.share_id}", fence=1_000)
    for volume in site.cloud.volumes.list_volumes():
        site.cloud.compute.detach_volume(site.instance.id, volume.id)
    clear_volumes(site.cloud)


def share_id() -> str:
    return str(uuid4())


def served(guest: Guest, share: str) -> ServedShare:
    return next(s for s in guest.health().shares if s.share_id == share)


# --- instances ----------------------------------------------------------------------------------


def test_an_instance_is_active_after_its_boot(site: Site) -> None:
    found = site.cloud.compute.get_instance(site.instance.id)
    assert found is not None
    assert found.status == "active"
    assert found.owner == site.instance.owner
    assert found.port_ids == (site.service_port.id, site.share_port.id)
    assert [i.id for i in site.cloud.compute.list_instances()] == [site.instance.id]
    assert site.cloud.compute.wait_for_instance(site.instance.id, BOOT_SECONDS) == found


def test_its_nfs_server_is_asked_in_both_networks(site: Site) -> None:
    [address] = site.service_port.addresses
    assert site.cloud.nfs_answers(site.instance.id, address)
    has_way = site.cloud.name != "openstack"
    assert site.cloud.serves_clients(site.instance.id) == has_way
    assert not site.cloud.serves_clients("absent")


def test_connecting_ports_again_changes_nothing(site: Site) -> None:
    before = site.cloud.networks.list_ports()
    site.cloud.compute.connect_ports(site.instance.id, 10)
    assert site.cloud.networks.list_ports() == before


def test_the_same_owner_gets_the_same_instance(site: Site) -> None:
    assert site.cloud.compute.create_instance(site.spec).id == site.instance.id


def test_an_instance_is_found_by_name_or_id_with_all_its_ports(site: Site) -> None:
    found = site.cloud.compute.find_instance(site.instance.id)
    assert found is not None
    assert found.id == site.instance.id
    assert site.cloud.compute.find_instance(found.name) == found
    assert site.cloud.compute.find_instance("absent") is None
    ports = site.cloud.networks.ports_of_instance(site.instance.id)
    assert {port.id for port in ports} == {site.service_port.id, site.share_port.id}
    assert site.cloud.networks.ports_of_instance("absent") == []


def test_absent_instances_and_volumes(site: Site) -> None:
    compute = site.cloud.compute
    assert compute.get_instance("absent") is None
    compute.delete_instance("absent")
    compute.detach_volume("absent", "absent")
    compute.detach_volume(site.instance.id, "absent")
    volume = site.cloud.volumes.create_volume(owner(), 1)
    compute.detach_volume(site.instance.id, volume.id)
    with pytest.raises(CloudNotFound):
        compute.attach_volume("absent", volume.id)
    with pytest.raises(CloudNotFound):
        compute.attach_volume(site.instance.id, "absent")
    with pytest.raises(CloudError):
        compute.wait_for_instance("absent", 1)


def test_attaching_and_detaching_twice_changes_nothing(site: Site) -> None:
    volume = site.attached_volume()
    site.cloud.compute.attach_volume(site.instance.id, volume.id)
    attached = site.cloud.volumes.get_volume(volume.id)
    assert attached is not None
    assert attached.instance_id == site.instance.id
    instance = site.cloud.compute.get_instance(site.instance.id)
    assert instance is not None
    assert instance.volume_ids == (volume.id,)
    with pytest.raises(VolumeInUse):
        site.cloud.volumes.delete_volume(volume.id)
    for _ in range(2):
        site.cloud.compute.detach_volume(site.instance.id, volume.id)
    free = site.cloud.volumes.get_volume(volume.id)
    assert free is not None
    assert free.instance_id is None


def test_attaching_may_be_begun_and_its_end_awaited_later(site: Site) -> None:
    compute, volume = site.cloud.compute, site.cloud.volumes.create_volume(owner(), 1)
    with pytest.raises(CloudNotFound):
        compute.begin_attaching(site.instance.id, "absent")
    compute.begin_attaching(site.instance.id, volume.id)
    compute.attach_volume(site.instance.id, volume.id)
    attached = site.cloud.volumes.get_volume(volume.id)
    assert attached is not None
    assert attached.instance_id == site.instance.id
    assert not compute.begin_attaching(site.instance.id, volume.id)
    compute.detach_volume(site.instance.id, volume.id)
    site.cloud.volumes.delete_volume(volume.id)


def test_an_instance_may_go_but_its_volumes_and_ports_stay(site: Site) -> None:
    """A second instance is made and deleted while it boots; the first one then has its volume."""
    cloud, server = site.cloud, owner("share_server")
    port = cloud.networks.create_port(server, cloud.networks.service_network().id)
    spec = replace(site.spec, owner=server, name="second", port_ids=(port.id,))
    second = cloud.compute.create_instance(spec)
    try:
        volume = cloud.volumes.create_volume(owner(), 1)
        cloud.compute.attach_volume(second.id, volume.id)
        with pytest.raises(VolumeInUse):
            cloud.compute.attach_volume(site.instance.id, volume.id)
        taken = cloud.networks.get_port(port.id)
        assert taken is not None
        assert taken.instance_id == second.id
    finally:
        cloud.compute.delete_instance(second.id)
    cloud.compute.delete_instance(second.id)
    assert cloud.compute.get_instance(second.id) is None
    cloud.compute.attach_volume(site.instance.id, volume.id)
    free = cloud.networks.get_port(port.id)
    assert free is not None
    assert (free.instance_id, free.addresses, free.mac) == (None, port.addresses, port.mac)
    cloud.networks.delete_port(port.id)


@pytest.mark.parametrize("by_somebody_else", [False, True])
def test_an_instance_is_fenced_with_proof(site: Site, by_somebody_else: bool) -> None:
    """Its volume is free for another only then, and the proof can be asked for again."""
    cloud, server = site.cloud, owner("share_server")
    port = cloud.networks.create_port(server, cloud.networks.service_network().id)
    spec = replace(site.spec, owner=server, name="second", port_ids=(port.id,))
    second = cloud.compute.create_instance(spec)
    try:
        cloud.compute.wait_for_instance(second.id, BOOT_SECONDS)
        volume = cloud.volumes.create_volume(owner(), 1)
        cloud.compute.attach_volume(second.id, volume.id)
        assert cloud.compute.fencing(second.id).state == "possible"
        if by_somebody_else:
            cloud.compute.delete_instance(second.id)
        for _ in range(2):
            cloud.compute.fence_instance(second.id)
        assert cloud.compute.fencing(second.id).state == "proved"
        assert cloud.compute.get_instance(second.id) is None
        cloud.compute.attach_volume(site.instance.id, volume.id)
    finally:
        cloud.compute.delete_instance(second.id)
        cloud.networks.delete_port(port.id)
    assert cloud.compute.fencing(site.instance.id).state == "possible"


def test_a_console_has_something_to_read(site: Site) -> None:
    assert site.cloud.compute.console(site.instance.id)


# --- the guest ----------------------------------------------------------------------------------


def test_a_blank_volume_is_formatted_once(site: Site, guest: Guest) -> None:
    wanted = nfs(share_id(), site.attached_volume(), "10.0.0.1")
    first = guest.apply_share(wanted, fence=1)
    again = guest.apply_share(wanted, fence=1)
    assert (first.formatted, again.formatted) == (True, False)
    assert first.size_bytes == again.size_bytes == pytest.approx(GIB, rel=0.1)
    assert first.rejected_rules == {}
    assert served(guest, wanted.share_id) == ServedShare(
        wanted.share_id,
        mounted=True,
        exported=True,
        fence=1,
        rules_digest=digest(wanted.rules or (), "root_squash"),
    )


def test_xfs_is_a_file_system_too(site: Site, guest: Guest) -> None:
    wanted = nfs(share_id(), site.attached_volume(), file_system="xfs")
    assert guest.apply_share(wanted, fence=1).formatted
    assert served(guest, wanted.share_id).mounted


def test_a_blank_volume_that_may_not_be_formatted_is_refused(site: Site, guest: Guest) -> None:
    wanted = nfs(share_id(), site.attached_volume(), may_format=False)
    with pytest.raises(DeviceNotBlank):
        guest.apply_share(wanted, fence=1)


def test_a_used_device_is_never_formatted(site: Site, guest: Guest) -> None:
    volume = site.attached_volume()
    first = nfs(share_id(), volume)
    guest.apply_share(first, fence=1)
    guest.remove_share(first.share_id, first.path, fence=2)
    with pytest.raises(DeviceNotBlank):
        guest.apply_share(nfs(share_id(), volume), fence=1)
    assert not guest.apply_share(replace(first, may_format=False), fence=3).formatted


def test_a_device_that_is_not_plugged_in_is_an_error(site: Site, guest: Guest) -> None:
    volume = site.cloud.volumes.create_volume(owner(), 1)
    with pytest.raises(GuestError):
        guest.apply_share(nfs(share_id(), volume), fence=1, deadline=5)


def test_a_share_grows_to_its_volume_s_size(site: Site, guest: Guest) -> None:
    volume = site.attached_volume()
    wanted = nfs(share_id(), volume, "10.0.0.1")
    guest.apply_share(wanted, fence=1)
    site.cloud.volumes.extend_volume(volume.id, 2)
    grown = guest.apply_share(replace(wanted, rules=None, least_gib=2), fence=2)
    assert grown.size_bytes == pytest.approx(2 * GIB, rel=0.1)
    (usage,) = guest.usage()
    assert (usage.share_id, usage.size_bytes) == (wanted.share_id, grown.size_bytes)
    assert served(guest, wanted.share_id).rules_digest == digest(wanted.rules or (), "root_squash")


def test_a_clone_lives_beside_its_parent_with_an_identity_of_its_own(
    site: Site, guest: Guest
) -> None:
    volume = site.attached_volume()
    parent = nfs(share_id(), volume)
    guest.apply_share(parent, fence=1)
    freeze = Freeze("snapshot/one")
    guest.freeze_share(parent.share_id, parent.path, freeze, seconds=30)
    snapshot = site.cloud.volumes.create_snapshot(owner("snapshot"), volume.id)
    guest.thaw_share(parent.share_id, parent.path, freeze)
    clone_volume = site.attached_volume(2, snapshot_id=snapshot.id)
    clone = nfs(share_id(), clone_volume, may_format=False)
    applied = guest.apply_share(clone, fence=1)
    assert not applied.formatted
    assert applied.size_bytes == pytest.approx(2 * GIB, rel=0.1)
    assert served(guest, clone.share_id).mounted
    assert served(guest, parent.share_id).mounted


def test_rules_are_a_whole_set(site: Site, guest: Guest) -> None:
    wanted = nfs(share_id(), site.attached_volume())
    for clients in (["10.0.0.1", "10.1.0.0/16=ro"], ["10.0.0.2"], ["fd00::7", "10.0.0.2"], []):
        wanted = replace(wanted, rules=rules(*clients))
        guest.apply_share(wanted, fence=1)
        assert served(guest, wanted.share_id).rules_digest == digest(
            wanted.rules or (), "root_squash"
        )
        admitted = guest.admitted(wanted.share_id)
        assert admitted.known
        assert set(admitted.rules) == set(wanted.rules or ())
    assert not guest.admitted(share_id()).known


def test_a_rule_that_can_t_be_served_is_rejected_and_the_others_served(
    site: Site, guest: Guest
) -> None:
    good = ExportRule("ip", "10.0.0.1", "rw")
    bad = (ExportRule("ip", "10.0.0.300", "rw"), ExportRule("user", "alice", "rw"))
    wanted = nfs(share_id(), site.attached_volume(), rules=(good, *bad))
    applied = guest.apply_share(wanted, fence=1)
    assert set(applied.rejected_rules) == {"10.0.0.300", "alice"}
    assert all(applied.rejected_rules.values())
    assert served(guest, wanted.share_id).rules_digest == digest((good,), "root_squash")


def test_a_share_may_be_mounted_but_let_nobody_in(site: Site, guest: Guest) -> None:
    wanted = nfs(share_id(), site.attached_volume(), "10.0.0.1")
    guest.apply_share(wanted, fence=1)
    guest.apply_share(replace(wanted, exported=False), fence=2)
    state = served(guest, wanted.share_id)
    assert (state.mounted, state.exported) == (True, False)


def test_an_older_operation_is_refused(site: Site, guest: Guest) -> None:
    wanted = nfs(share_id(), site.attached_volume())
    guest.apply_share(wanted, fence=7)
    with pytest.raises(StaleFence):
        guest.apply_share(wanted, fence=6)
    with pytest.raises(StaleFence):
        guest.remove_share(wanted.share_id, wanted.path, fence=6)
    guest.remove_share(wanted.share_id, wanted.path, fence=8)
    with pytest.raises(StaleFence):
        guest.apply_share(wanted, fence=7)


def test_removing_twice_and_removing_nothing_is_fine(site: Site, guest: Guest) -> None:
    volume = site.attached_volume()
    wanted = nfs(share_id(), volume, "10.0.0.1")
    guest.apply_share(wanted, fence=1)
    for _ in range(2):
        guest.remove_share(wanted.share_id, wanted.path, fence=2)
    guest.remove_share(share_id(), "/shares/never", fence=1)
    assert wanted.share_id not in [s.share_id for s in guest.health().shares if s.mounted]
    site.cloud.compute.detach_volume(site.instance.id, volume.id)


def test_a_freeze_is_undone(site: Site, guest: Guest) -> None:
    wanted = nfs(share_id(), site.attached_volume())
    guest.apply_share(wanted, fence=1)
    freeze = Freeze("snapshot/one")
    guest.freeze_share(wanted.share_id, wanted.path, freeze, seconds=30)
    guest.thaw_share(wanted.share_id, wanted.path, freeze)
    with pytest.raises(FreezeLost):
        guest.thaw_share(wanted.share_id, wanted.path, freeze)


def test_a_share_is_frozen_for_one_asker_at_a_time(site: Site, guest: Guest) -> None:
    wanted = nfs(share_id(), site.attached_volume())
    guest.apply_share(wanted, fence=1)
    first, second = Freeze("snapshot/one"), Freeze("snapshot/two")
    guest.freeze_share(wanted.share_id, wanted.path, first, seconds=60)
    with pytest.raises(GuestBusy) as caught:
        guest.freeze_share(wanted.share_id, wanted.path, second, seconds=60)
    assert caught.value.retryable
    with pytest.raises(FreezeLost):
        guest.thaw_share(wanted.share_id, wanted.path, second)
    guest.thaw_share(wanted.share_id, wanted.path, first)  # neither of them has ended it
    guest.freeze_share(wanted.share_id, wanted.path, second, seconds=60)
    with pytest.raises(FreezeLost):
        guest.thaw_share(wanted.share_id, wanted.path, first)
    guest.thaw_share(wanted.share_id, wanted.path, second)


@pytest.mark.parametrize(
    "second", [Freeze("snapshot/one"), Freeze("replacement", takes_over=True)], ids=["again", "all"]
)
def test_a_freeze_that_was_taken_over_has_not_held(
    site: Site, guest: Guest, second: Freeze
) -> None:
    wanted = nfs(share_id(), site.attached_volume())
    guest.apply_share(wanted, fence=1)
    first = Freeze("snapshot/one")
    guest.freeze_share(wanted.share_id, wanted.path, first, seconds=60)
    other = site.open_guest()
    other.freeze_share(wanted.share_id, wanted.path, second, seconds=60)
    with pytest.raises(FreezeLost):
        guest.thaw_share(wanted.share_id, wanted.path, first)
    other.thaw_share(wanted.share_id, wanted.path, second)
    other.close()


def test_a_freeze_that_ended_by_itself_is_told(site: Site, guest: Guest) -> None:
    wanted = nfs(share_id(), site.attached_volume())
    guest.apply_share(wanted, fence=1)
    freeze = Freeze("snapshot/one")
    guest.freeze_share(wanted.share_id, wanted.path, freeze, seconds=0.2)
    time.sleep(0.8)
    with pytest.raises(FreezeLost):
        guest.thaw_share(wanted.share_id, wanted.path, freeze)


def test_only_what_is_mounted_can_be_frozen(guest: Guest) -> None:
    with pytest.raises(GuestError):
        guest.freeze_share(share_id(), "/shares/never", Freeze("snapshot/one"), seconds=1)


def test_an_ended_channel_leaves_the_shares_served(site: Site) -> None:
    wanted = nfs(share_id(), site.attached_volume(), "10.0.0.1")
    first = site.open_guest()
    boot = first.health().boot_id
    first.apply_share(wanted, fence=1)
    first.close()
    second = site.open_guest()
    assert second.health().boot_id == boot
    assert served(second, wanted.share_id).exported
    second.close()


def test_a_rebooted_instance_serves_again_by_itself(site: Site) -> None:
    wanted = nfs(share_id(), site.attached_volume(), "10.0.0.1")
    before = site.open_guest()
    before.apply_share(wanted, fence=1)
    boot = before.health().boot_id
    before.close()
    site.cloud.compute.reboot_instance(site.instance.id)
    site.cloud.compute.wait_for_instance(site.instance.id, BOOT_SECONDS)
    after = site.open_guest()
    assert after.health().boot_id != boot
    # sshd answers before the boot has come to the NFS server
    wait("its export", lambda: served(after, wanted.share_id).exported, BOOT_SECONDS, pause=1)
    state = served(after, wanted.share_id)
    assert (state.mounted, state.fence) == (True, 1)
    after.close()
