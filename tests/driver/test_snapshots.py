"""Snapshots are consistent, or they aren't there."""

from __future__ import annotations

import pytest

from atoll.cloud.memory import Mount
from atoll.errors import (
    OutOfCapacity,
    ServiceInstanceUnavailable,
    ShareBackendException,
    SnapshotInconsistent,
)
from tests.driver.in_memory import DriverOnMemory, Row, rule

ALICE = "10.9.0.5"


@pytest.fixture
def share(site: DriverOnMemory, server: Row) -> Row:
    share = site.share(rules=[rule(ALICE)])
    site.driver.create_share(site.context(), share, server)
    return share


@pytest.fixture
def mount(site: DriverOnMemory, server: Row, share: Row) -> Mount:
    return site.mount(site.driver.ensure_share(site.context(), share, server), ALICE)


def snapshot_of(share: Row, name: str = "p1") -> Row:
    return {"id": name, "share_id": share["id"]}


def test_what_clients_wrote_is_in_the_snapshot(
    site: DriverOnMemory, server: Row, share: Row, mount: Mount
) -> None:
    mount.write("a", b"unflushed", sync=False)
    update = site.driver.create_snapshot(site.context(), snapshot_of(share), server)
    assert update["size"] == 1
    assert site.cloud.disk(update["provider_location"]).files == {"a": b"unflushed"}
    assert site.cloud.accidents() == []
    mount.write("b", b"thawed")


def test_a_freeze_that_ended_early_leaves_no_snapshot(server: Row) -> None:
    site = DriverOnMemory(freeze_seconds=0.05)
    server = site.server()
    share = site.share()
    site.driver.create_share(site.context(), share, server)
    site.cloud.faults.delay("create_snapshot", 0.1)
    with pytest.raises(SnapshotInconsistent) as caught:
        site.driver.create_snapshot(site.context(), snapshot_of(share), server)
    assert caught.value.retryable
    assert site.cloud.volumes.list_snapshots() == []
    site.driver.create_snapshot(site.context(), snapshot_of(share), server)
    assert len(site.cloud.volumes.list_snapshots()) == 1


def test_clients_go_on_when_the_cloud_refuses(
    site: DriverOnMemory, server: Row, share: Row, mount: Mount
) -> None:
    site.cloud.faults.fail("create_snapshot", "OutOfCapacity")
    with pytest.raises(OutOfCapacity):
        site.driver.create_snapshot(site.context(), snapshot_of(share), server)
    mount.write("a", b"thawed")


def test_clients_go_on_when_the_freeze_was_not_answered(
    site: DriverOnMemory, server: Row, share: Row, mount: Mount
) -> None:
    site.cloud.faults.lose("freeze_share")
    with pytest.raises(ServiceInstanceUnavailable):
        site.driver.create_snapshot(site.context(), snapshot_of(share), server)
    mount.write("a", b"thawed")
    assert site.cloud.volumes.list_snapshots() == []


def test_a_copy_of_unknown_worth_is_taken_again(
    site: DriverOnMemory, server: Row, share: Row, mount: Mount
) -> None:
    """A worker died between copy and thaw: was the copy done before the freeze ended?"""
    volume = site.share_volumes()[0]
    stale = site.cloud.volumes.create_snapshot("snapshot/p1", volume.id)
    mount.write("a", b"later")
    update = site.driver.create_snapshot(site.context(), snapshot_of(share), server)
    assert update["provider_location"] != stale.id
    assert site.cloud.disk(update["provider_location"]).files == {"a": b"later"}
    assert len(site.cloud.volumes.list_snapshots()) == 1


def test_an_instance_that_is_off_writes_nothing(
    site: DriverOnMemory, server: Row, share: Row
) -> None:
    site.cloud.kill_instance(server["backend_details"]["instance_id"])
    site.driver.create_snapshot(site.context(), snapshot_of(share), server)
    assert site.cloud.accidents() == []


def test_an_instance_that_hangs_might_write(site: DriverOnMemory, server: Row, share: Row) -> None:
    site.cloud.hang_instance(server["backend_details"]["instance_id"])
    with pytest.raises(ServiceInstanceUnavailable):
        site.driver.create_snapshot(site.context(), snapshot_of(share), server)
    assert site.cloud.volumes.list_snapshots() == []


def test_an_instance_in_error_might_write(site: DriverOnMemory, server: Row, share: Row) -> None:
    site.cloud.fail_instance(server["backend_details"]["instance_id"], "live migration failed")
    with pytest.raises(ServiceInstanceUnavailable):
        site.driver.create_snapshot(site.context(), snapshot_of(share), server)
    assert site.cloud.volumes.list_snapshots() == []


def test_a_snapshot_outlives_its_share_only_as_far_as_clones_do(
    site: DriverOnMemory, server: Row, share: Row, mount: Mount
) -> None:
    mount.write("a", b"data")
    site.driver.create_snapshot(site.context(), snapshot_of(share), server)
    clone = site.share(rules=[rule(ALICE)])
    made = site.driver.create_share_from_snapshot(site.context(), clone, snapshot_of(share), server)
    site.driver.delete_snapshot(site.context(), snapshot_of(share))
    site.driver.delete_share(site.context(), share, server)
    assert site.mount(made["export_locations"], ALICE).read("a") == b"data"


def test_adopting_a_snapshot_of_the_shares_volume_only(
    site: DriverOnMemory, server: Row, share: Row, mount: Mount
) -> None:
    other = site.share()
    site.driver.create_share(site.context(), other, server)
    volumes = {volume.owner: volume for volume in site.share_volumes()}
    made = site.cloud.volumes.create_snapshot("by-hand", volumes[f"share/{share['id']}"].id)
    adopted = snapshot_of(share) | {"provider_location": made.id}
    with pytest.raises(ShareBackendException):
        site.driver.manage_existing_snapshot(adopted | {"share_id": other["id"]}, {})
    assert site.driver.manage_existing_snapshot(adopted, {})["size"] == 1
    assert site.driver.create_snapshot(site.context(), adopted, server) == {
        "provider_location": made.id,
        "size": 1,
    }
    site.driver.unmanage_snapshot(adopted)
    assert site.cloud.volumes.get_snapshot(made.id) is not None
