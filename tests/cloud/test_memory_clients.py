"""The simulated cloud as a user sees it: clients that mount, write, read and are refused."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from atoll.cloud.memory import MemoryCloud
from atoll.errors import GuestUnreachable
from atoll.guest.base import ExportRule, Freeze, WantedShare, WantedState

from .site import Site, nfs, owner, rules, running_site


@pytest.fixture
def site(memory: MemoryCloud) -> Iterator[Site]:
    with running_site(memory) as running:
        yield running


def serve(site: Site, *clients: str) -> WantedShare:
    wanted = nfs(owner().replace("/", "-"), site.attached_volume(), *clients)
    site.open_guest().apply_share(wanted, fence=1)
    return wanted


@pytest.mark.parametrize(
    ("clients", "address", "level"),
    [
        ([], "10.0.0.1", None),
        (["10.0.0.1"], "10.0.0.1", "rw"),
        (["10.0.0.1"], "10.0.0.10", None),
        (["10.0.0.1/32"], "10.0.0.1", "rw"),
        (["10.0.0.0/24"], "10.0.0.255", "rw"),
        (["10.0.0.0/24"], "10.0.1.0", None),
        (["10.0.0.0/24=ro", "10.0.0.1"], "10.0.0.1", "rw"),
        (["10.0.0.0/24", "10.0.0.1=ro"], "10.0.0.1", "ro"),
        (["10.0.0.0/28=ro", "10.0.0.0/24"], "10.0.0.1", "ro"),
        (["0.0.0.0/0=ro"], "192.0.2.9", "ro"),
        (["fd00::/64"], "fd00::1", "rw"),
        (["fd00::/64"], "fd01::1", None),
        (["::/0"], "10.0.0.1", None),
    ],
)
def test_rules_decide_who_mounts(
    memory: MemoryCloud, site: Site, clients: list[str], address: str, level: str | None
) -> None:
    location = site.location(serve(site, *clients))
    client = memory.client(address)
    assert client.may_mount(location) == (level is not None)
    if level is None:
        with pytest.raises(PermissionError):
            client.mount(location)
        return
    mount = client.mount(location)
    if level == "rw":
        mount.write("file", b"data")
        assert mount.read("file") == b"data"
    else:
        with pytest.raises(OSError, match="Read-only") as caught:
            mount.write("file", b"data")
        assert caught.value.errno == errno.EROFS


def test_cifs_lets_users_in(memory: MemoryCloud, site: Site) -> None:
    wanted = nfs(
        "s1",
        site.attached_volume(),
        protocol="CIFS",
        name="team",
        rules=(ExportRule("user", "alice", "rw"), ExportRule("user", "bob", "ro")),
    )
    site.open_guest().apply_share(wanted, fence=1)
    location = rf"\\{site.share_port.addresses[0]}\team"
    memory.client("10.0.0.1", user="alice").mount(location).write("file", b"data")
    bob = memory.client("10.0.0.1", user="bob").mount(location)
    assert bob.read("file") == b"data"
    with pytest.raises(OSError, match="Read-only"):
        bob.write("file", b"other")
    assert not memory.client("10.0.0.1", user="eve").may_mount(location)
    assert not memory.client("10.0.0.1").may_mount(location)


def test_a_client_whose_rule_goes_is_cut_and_others_are_not(
    memory: MemoryCloud, site: Site
) -> None:
    wanted = serve(site, "10.0.0.1", "10.0.0.2")
    cut, kept = (memory.client(a).mount(site.location(wanted)) for a in ("10.0.0.1", "10.0.0.2"))
    site.open_guest().apply_share(replace(wanted, rules=rules("10.0.0.2")), fence=2)
    kept.write("file", b"data")
    with pytest.raises(PermissionError):
        cut.read("file")


def test_content_outlives_extension_instance_and_power(memory: MemoryCloud, site: Site) -> None:
    wanted = serve(site, "10.0.0.1")
    mount = memory.client("10.0.0.1").mount(site.location(wanted))
    mount.write("kept", b"1")
    mount.write("lost", b"2", sync=False)
    memory.volumes.extend_volume(wanted.serial, 4)
    site.open_guest().apply_share(replace(wanted, rules=None), fence=2)
    assert mount.size_gib() == 4
    memory.kill_instance(site.instance.id)
    with pytest.raises(TimeoutError):
        mount.read("kept")
    memory.compute.reboot_instance(site.instance.id)
    assert mount.files() == ["kept"]


def test_a_mounted_client_carries_on_at_the_next_instance(memory: MemoryCloud, site: Site) -> None:
    wanted = serve(site, "10.0.0.1")
    mount = memory.client("10.0.0.1").mount(site.location(wanted))
    mount.write("file", b"data")
    memory.delete_instance(site.instance.id)
    second = site.replacement()
    with pytest.raises(TimeoutError):
        mount.read("file")
    second.open_guest().start_nfs(with_state=False)
    with pytest.raises(FileNotFoundError):
        mount.read("file")
    memory.compute.attach_volume(second.instance.id, wanted.serial)
    second.open_guest().apply_share(replace(wanted, may_format=False), fence=1)
    assert mount.read("file") == b"data"
    memory.compute.delete_instance(second.instance.id)


def test_another_share_at_the_same_place_is_not_taken_for_the_old_one(
    memory: MemoryCloud, site: Site
) -> None:
    wanted = serve(site, "10.0.0.1")
    mount = memory.client("10.0.0.1").mount(site.location(wanted))
    guest = site.open_guest()
    guest.remove_share(wanted.share_id, wanted.path, fence=2)
    other = nfs("other", site.attached_volume(), "10.0.0.1", path=wanted.path)
    guest.apply_share(other, fence=1)
    with pytest.raises(OSError, match="Stale") as caught:
        mount.files()
    assert caught.value.errno == errno.ESTALE


def test_a_snapshot_holds_what_was_there_and_no_more(memory: MemoryCloud, site: Site) -> None:
    wanted = serve(site, "10.0.0.1")
    mount = memory.client("10.0.0.1").mount(site.location(wanted))
    mount.write("early", b"1", sync=False)
    guest = site.open_guest()
    freeze = Freeze("snapshot/one")
    guest.freeze_share(wanted.share_id, wanted.path, freeze, seconds=30)
    with pytest.raises(TimeoutError):
        mount.write("stalled", b"x")
    snapshot = memory.volumes.create_snapshot(owner("snapshot"), wanted.serial)
    guest.thaw_share(wanted.share_id, wanted.path, freeze)
    mount.write("late", b"2")
    volume = site.attached_volume(2, snapshot_id=snapshot.id)
    assert memory.disk(volume.id).fs_uuid == wanted.fsid
    clone = nfs("clone", volume, "10.0.0.1", may_format=False)
    guest.apply_share(clone, fence=1)
    copy = memory.client("10.0.0.1").mount(site.location(clone))
    assert copy.files() == ["early"]
    copy.write("own", b"3")
    assert mount.files() == ["early", "late"]
    assert memory.disk(volume.id).fs_uuid == clone.fsid
    assert memory.accidents() == []


def test_a_snapshot_without_a_freeze_misses_the_page_cache(memory: MemoryCloud, site: Site) -> None:
    wanted = serve(site, "10.0.0.1")
    memory.client("10.0.0.1").mount(site.location(wanted)).write("cached", b"1", sync=False)
    snapshot = memory.volumes.create_snapshot(owner("snapshot"), wanted.serial)
    assert memory.disk(snapshot.id).files == {}
    (accident,) = memory.accidents()
    assert "was not frozen" in accident


def test_pulling_a_mounted_volume_is_an_accident(memory: MemoryCloud, site: Site) -> None:
    wanted = serve(site, "10.0.0.1")
    mount = memory.client("10.0.0.1").mount(site.location(wanted))
    memory.compute.detach_volume(site.instance.id, wanted.serial)
    with pytest.raises(FileNotFoundError):
        mount.files()
    (accident,) = memory.accidents()
    assert wanted.share_id in accident


def test_a_freeze_ends_with_its_channel(memory: MemoryCloud, site: Site) -> None:
    wanted = serve(site, "10.0.0.1")
    mount = memory.client("10.0.0.1").mount(site.location(wanted))
    guest = site.open_guest()
    freeze = Freeze("snapshot/one")
    guest.freeze_share(wanted.share_id, wanted.path, freeze, seconds=30)
    guest.close()
    mount.write("file", b"data")


def test_a_full_share_is_full(memory: MemoryCloud, site: Site) -> None:
    wanted = serve(site, "10.0.0.1")
    mount = memory.client("10.0.0.1").mount(site.location(wanted))
    with memory.gate.world.change():  # 1 GiB of real bytes would be a slow test
        memory.gate.world.execute("UPDATE volumes SET fs_gib = 0 WHERE id = ?", wanted.serial)
    with pytest.raises(OSError, match="No space") as caught:
        mount.write("file", b"data")
    assert caught.value.errno == errno.ENOSPC


def test_a_hung_instance_is_active_but_answers_nobody(memory: MemoryCloud, site: Site) -> None:
    wanted = serve(site, "10.0.0.1")
    guest = site.open_guest()
    memory.hang_instance(site.instance.id)
    found = memory.compute.get_instance(site.instance.id)
    assert found is not None
    assert found.status == "active"
    with pytest.raises(GuestUnreachable):
        guest.health()
    with pytest.raises(GuestUnreachable):
        site.open_guest()
    with pytest.raises(TimeoutError):
        memory.client("10.0.0.1").mount(site.location(wanted))
    memory.compute.reboot_instance(site.instance.id)
    with pytest.raises(GuestUnreachable):  # its channel was cut
        guest.health()
    assert site.open_guest().health().shares[0].exported


def test_a_reboot_without_the_volume_serves_nothing_until_applied(
    memory: MemoryCloud, site: Site
) -> None:
    wanted = serve(site, "10.0.0.1")
    memory.lose_volume_attachment(wanted.serial)
    memory.compute.reboot_instance(site.instance.id)
    (state,) = site.open_guest().health().shares
    assert (state.mounted, state.exported) == (False, False)
    memory.compute.attach_volume(site.instance.id, wanted.serial)
    site.open_guest().apply_share(replace(wanted, may_format=False), fence=2)
    assert memory.client("10.0.0.1").may_mount(site.location(wanted))


def test_a_guest_knows_who_may_log_in(site: Site) -> None:
    for wrong in (
        replace(site.access, host_key_public="ssh-ed25519 AAAA"),
        replace(site.access, user="root"),
        replace(site.access, address="192.0.2.1"),
    ):
        with pytest.raises(GuestUnreachable):
            site.cloud.open_guest(site.instance.id, wrong, 1)


def test_a_lock_is_kept_by_a_server_that_has_its_state(memory: MemoryCloud, site: Site) -> None:
    wanted = serve(site, "10.0.0.1", "10.0.0.2")
    state = memory.volumes.create_volume("share_server_state/s", 1)
    kept = WantedState(state.id, str(uuid4()), may_format=True)

    def serve_with_state(at: Site) -> None:
        memory.compute.attach_volume(at.instance.id, state.id)
        at.open_guest().keep_state(kept)
        at.open_guest().start_nfs()

    serve_with_state(site)
    first, second = (
        memory.client(address).mount(site.location(wanted)) for address in ("10.0.0.1", "10.0.0.2")
    )
    first.lock("file")
    with pytest.raises(BlockingIOError):
        second.lock("file")
    memory.delete_instance(site.instance.id)
    next_one = site.replacement()
    memory.compute.attach_volume(next_one.instance.id, wanted.serial)
    next_one.open_guest().apply_share(replace(wanted, may_format=False), fence=1)
    with pytest.raises(TimeoutError):
        second.lock("file")
    serve_with_state(next_one)
    with pytest.raises(BlockingIOError):
        second.lock("file")
    first.unlock("file")
    second.lock("file")
    assert memory.accidents() == []
    memory.compute.delete_instance(next_one.instance.id)


def test_a_server_without_its_state_grants_a_lock_twice(memory: MemoryCloud, site: Site) -> None:
    wanted = serve(site, "10.0.0.1", "10.0.0.2")
    first, second = (
        memory.client(address).mount(site.location(wanted)) for address in ("10.0.0.1", "10.0.0.2")
    )
    first.lock("file")
    memory.delete_instance(site.instance.id)
    next_one = site.replacement()
    memory.compute.attach_volume(next_one.instance.id, wanted.serial)
    next_one.open_guest().apply_share(replace(wanted, may_format=False), fence=1)
    next_one.open_guest().start_nfs(with_state=False)
    second.lock("file")
    assert "10.0.0.2 was granted the lock" in memory.accidents()[0]
    memory.compute.delete_instance(next_one.instance.id)
