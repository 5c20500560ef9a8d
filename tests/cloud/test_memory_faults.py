"""Faults and the journal: what goes wrong on request, and the record of what was asked."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.cloud.memory import Fault, MemoryCloud
from atoll.errors import (
    CloudError,
    CloudUnavailable,
    GuestUnreachable,
    Invalid,
    OutOfCapacity,
    VolumeInUse,
)

from .site import nfs, owner, running_site


def test_the_nth_call_fails_and_the_others_don_t(memory: MemoryCloud) -> None:
    memory.faults.fail("create_volume", "OutOfCapacity", "full", nth=2, times=2)
    memory.volumes.create_volume("share/1", 1)
    for _ in range(2):
        with pytest.raises(OutOfCapacity, match="full"):
            memory.volumes.create_volume("share/2", 1)
    memory.volumes.create_volume("share/2", 1)
    assert len(memory.volumes.list_volumes()) == 2


def test_a_lost_answer_leaves_the_effect(memory: MemoryCloud) -> None:
    memory.faults.lose("create_volume")
    with pytest.raises(CloudUnavailable):
        memory.volumes.create_volume("share/1", 1)
    found = memory.volumes.find_volume("share/1")
    assert found is not None
    assert memory.volumes.create_volume("share/1", 1) == found


def test_a_fault_may_be_about_one_resource_only(memory: MemoryCloud) -> None:
    memory.faults.fail("*", about="share/2", times=None)
    memory.volumes.create_volume("share/1", 1)
    with pytest.raises(CloudUnavailable):
        memory.volumes.create_volume("share/2", 1)
    with pytest.raises(CloudUnavailable):
        memory.volumes.find_volume("share/2")


def test_patterns_name_rooms_and_verbs(memory: MemoryCloud) -> None:
    memory.faults.fail("networks.*", times=None)
    memory.volumes.create_volume("share/1", 1)
    with pytest.raises(CloudUnavailable):
        memory.networks.service_network()
    memory.faults.clear()
    memory.networks.service_network()


def test_a_guest_s_lost_answer_is_silence(memory: MemoryCloud) -> None:
    with running_site(memory) as site:
        guest = site.open_guest()
        wanted = nfs("s1", site.attached_volume())
        memory.faults.lose("apply_share", about="s1")
        with pytest.raises(GuestUnreachable):
            guest.apply_share(wanted, fence=1)
        assert [s.share_id for s in guest.health().shares] == ["s1"]


def test_a_hung_call_ends_with_its_deadline(memory: MemoryCloud) -> None:
    with running_site(memory) as site:
        guest = site.open_guest()
        memory.faults.hang("health")
        start = time.monotonic()
        with pytest.raises(GuestUnreachable):
            guest.health(deadline=0.1)
        memory.faults.hang("wait_for_instance")
        with pytest.raises(CloudUnavailable):
            memory.compute.wait_for_instance(site.instance.id, 0.1)
        assert 0.2 <= time.monotonic() - start < 5


def test_a_hung_call_delays_nobody_else_and_goes_on_when_cleared(memory: MemoryCloud) -> None:
    memory.faults.hang("create_volume", about="share/1")
    errors: list[CloudError] = []

    def create() -> None:
        try:
            memory.volumes.create_volume("share/1", 1)
        except CloudError as error:
            errors.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    while not memory.faults.current()[0].seen:
        time.sleep(0.001)
    memory.volumes.create_volume("share/2", 1)
    memory.faults.clear()
    thread.join(5)
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [CloudUnavailable]
    assert memory.volumes.find_volume("share/1") is None


def test_a_delay_delays(memory: MemoryCloud) -> None:
    memory.faults.delay("pools", 0.05)
    start = time.monotonic()
    memory.volumes.pools()
    assert time.monotonic() - start >= 0.05


def test_faults_may_be_given_at_once() -> None:
    cloud = MemoryCloud("test", faults=[Fault("pools", "fail", error="CloudError")])
    with pytest.raises(CloudError):
        cloud.volumes.pools()


def test_a_fault_that_makes_no_sense_is_refused(memory: MemoryCloud) -> None:
    with pytest.raises(Invalid):
        memory.faults.fail("create_volume", "NoSuchError")
    with pytest.raises(Invalid):
        memory.faults.add(Fault("create_volume", "explode"))  # type: ignore[arg-type]
    assert memory.faults.current() == []


def test_the_journal_has_every_call_and_no_secret(memory: MemoryCloud) -> None:
    with running_site(memory) as site:
        start = memory.journal.mark()
        volume = site.attached_volume()
        site.open_guest().apply_share(nfs("s1", volume), fence=1)
        calls = memory.journal.calls(since=start)
    assert [call.name for call in calls] == [
        "volumes.create_volume",
        "compute.attach_volume",
        "cloud.open_guest",
        "guest.apply_share",
    ]
    assert calls[3].about.startswith(f"{site.instance.id} s1")
    everything = " ".join(call.about for call in memory.journal.calls())
    assert "PRIVATE" not in everything
    assert memory.journal.count("guest.*", about="s1") == 1
    assert memory.journal.counts(since=start)["compute.attach_volume"] == 1
    memory.journal.clear()
    assert memory.journal.calls() == []


def test_the_journal_has_calls_that_failed(memory: MemoryCloud) -> None:
    memory.faults.fail("pools")
    with pytest.raises(CloudUnavailable):
        memory.volumes.pools()
    assert memory.journal.count("pools") == 1


def test_the_journal_may_be_off() -> None:
    cloud = MemoryCloud("test", journal=False)
    cloud.volumes.pools()
    assert cloud.journal.calls() == []


def test_latency_is_per_call(tmp_path: Path) -> None:
    cloud = MemoryCloud("test", path=tmp_path / "world", latency={"pools": 0.05})
    start = time.monotonic()
    cloud.volumes.list_volumes()
    fast = time.monotonic() - start
    cloud.volumes.pools()
    assert fast < 0.05 <= time.monotonic() - start - fast


def test_booting_takes_its_time(tmp_path: Path) -> None:
    cloud = MemoryCloud("test", path=tmp_path / "world", boot_seconds=0.1, silence=0.001)
    start = time.monotonic()
    with running_site(cloud) as site:
        assert time.monotonic() - start >= 0.1
        guest = site.open_guest()
        cloud.compute.reboot_instance(site.instance.id)
        found = cloud.compute.get_instance(site.instance.id)
        assert found is not None
        assert found.status == "building"
        with pytest.raises(GuestUnreachable):
            guest.health()
        with pytest.raises(GuestUnreachable):
            cloud.open_guest(site.instance.id, site.access, 0.01)
        with pytest.raises(CloudUnavailable):
            cloud.compute.wait_for_instance(site.instance.id, 0.01)
        assert site.open_guest().health().uptime_seconds < 0.1


def test_limits_are_kept(memory: MemoryCloud) -> None:
    memory.set_capacity(volumes_gib=10, volumes_per_instance=2)
    with running_site(memory) as site:
        memory.set_capacity(instances=1)
        with pytest.raises(OutOfCapacity):
            memory.compute.create_instance(replace(site.spec, owner=owner("share_server")))
        for _ in range(2):
            site.attached_volume(4)
        with pytest.raises(OutOfCapacity):
            memory.volumes.create_volume(owner(), 3)
        third = memory.volumes.create_volume(owner(), 1)
        with pytest.raises(OutOfCapacity):
            memory.volumes.extend_volume(third.id, 3)
        with pytest.raises(OutOfCapacity):
            memory.compute.attach_volume(site.instance.id, third.id)
        (pool,) = memory.volumes.pools()
        assert (pool.total_gib, pool.free_gib, pool.allocated_gib) == (10, 1, 9)


def test_an_instance_that_fails_says_why(memory: MemoryCloud) -> None:
    with running_site(memory) as site:
        memory.fail_instance(site.instance.id, "No valid host")
        with pytest.raises(CloudError, match="No valid host"):
            memory.compute.wait_for_instance(site.instance.id, 1)
        (found,) = memory.compute.list_instances()
        assert (found.status, found.fault) == ("error", "No valid host")


def test_leaks_are_what_is_left(memory: MemoryCloud) -> None:
    with running_site(memory) as site:
        volume = site.attached_volume()
        site.open_guest().apply_share(nfs("s1", volume), fence=1)
        leaks = memory.leaks()
        assert leaks["volumes"] == [f"{volume.owner} {volume.id}"]
        assert leaks["exports"] == [f"s1 {site.instance.id}"]
        assert {kind: len(things) for kind, things in leaks.items()} == {
            "instances": 1, "volumes": 1, "networks": 1, "ports": 2, "exports": 1,
        }  # fmt: skip
        with pytest.raises(VolumeInUse):
            memory.volumes.delete_volume(volume.id)
        memory.delete_volume(volume.id)
    assert memory.leaks() == {}
