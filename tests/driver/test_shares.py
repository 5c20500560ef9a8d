"""What users get: shares that clients mount, grow, copy and lose, on the simulated cloud."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from atoll.driver.answer import Answer
from atoll.driver.generic import GenericShareDriver
from atoll.errors import (
    CloudUnavailable,
    DeviceNotBlank,
    NotSupported,
    ServiceInstanceException,
    ServiceInstanceUnavailable,
    ShareBackendException,
    StaleFence,
    VolumeLost,
)
from tests.driver.in_memory import DriverOnMemory, Row, rule

ALICE, BOB = "10.9.0.5", "10.9.0.50"


def test_a_client_with_a_rule_mounts_a_new_share(site: DriverOnMemory, server: Row) -> None:
    share = site.share(rules=[rule(ALICE)])
    locations = site.driver.create_share(site.context(), share, server)
    address = server["backend_details"]["public_address"]
    assert locations == [
        {
            "path": f"{address}:/shares/{share['id']}",
            "is_admin_only": False,
            "metadata": {"preferred": True},
        }
    ]
    site.mount(locations, ALICE).write("a", b"data")
    assert not site.client(BOB).may_mount(locations[0]["path"])


def test_every_method_may_be_run_twice(site: DriverOnMemory, server: Row) -> None:
    share = site.share(rules=[rule(ALICE)])
    assert site.server() == server
    locations = site.driver.create_share(site.context(), share, server)
    mount = site.mount(locations, ALICE)
    mount.write("a", b"data")
    assert site.driver.create_share(site.context(), share, server) == locations
    assert site.driver.ensure_share(site.context(), share, server) == locations
    for _ in range(2):
        site.driver.extend_share(site.context(), share, 3, share_server=server)
    snapshot: Row = {"id": "p1", "share_id": share["id"]}
    made = site.driver.create_snapshot(site.context(), snapshot, share_server=server)
    assert site.driver.create_snapshot(site.context(), snapshot, share_server=server) == made
    clone = site.share(5, rules=[rule(ALICE)])
    for _ in range(2):
        update = site.driver.create_share_from_snapshot(site.context(), clone, snapshot, server)
    assert site.mount(update["export_locations"], ALICE).read("a") == b"data"
    assert mount.read("a") == b"data"
    for _ in range(2):
        site.driver.delete_snapshot(site.context(), snapshot, share_server=server)
        site.driver.delete_share(site.context(), clone, share_server=server)
        site.driver.delete_share(site.context(), share, share_server=server)
    for _ in range(2):
        site.driver.teardown_server(server["backend_details"])
    assert site.leftovers() == {}
    assert site.cloud.accidents() == []


def test_preparing_makes_only_the_volume(site: DriverOnMemory) -> None:
    share = site.share()
    site.driver.prepare_share(site.context(), share)
    site.driver.prepare_share(site.context(), share)
    assert len(site.share_volumes()) == 1
    server = site.server()
    site.driver.create_share(site.context(), share, server)
    assert len(site.share_volumes()) == 1


def test_a_prepared_share_is_not_prepared_again(site: DriverOnMemory) -> None:
    share = site.share()
    site.driver.prepare_share(site.context(), share)
    start = site.cloud.journal.mark()
    site.driver.prepare_share(site.context(), share)
    assert site.cloud.journal.counts(since=start) == {}


def test_extending_is_online_and_keeps_the_rules(site: DriverOnMemory, server: Row) -> None:
    share = site.share(rules=[rule(ALICE)])
    mount = site.mount(site.driver.create_share(site.context(), share, server), ALICE)
    del share["access_rules"]  # a caller that doesn't say must not lose them
    site.driver.extend_share(site.context(), share, 4, share_server=server)
    mount.write("a", b"still here")
    assert mount.size_gib() == 4


def test_one_guest_round_trip_and_no_cloud_call_changes_rules(
    site: DriverOnMemory, server: Row
) -> None:
    share = site.share()
    site.driver.create_share(site.context(), share, server)
    start = site.cloud.journal.mark()
    site.update_access(share, server, rule(ALICE))
    assert site.cloud.journal.counts(since=start) == {"guest.apply_share": 1}


def test_a_share_from_a_snapshot_is_larger_and_its_own(site: DriverOnMemory, server: Row) -> None:
    share = site.share(1, rules=[rule(ALICE)], options={"file_system": "xfs"})
    mount = site.mount(site.driver.create_share(site.context(), share, server), ALICE)
    mount.write("a", b"before", sync=False)
    snapshot: Row = {"id": "p1", "share_id": share["id"]}
    site.driver.create_snapshot(site.context(), snapshot, share_server=server)
    mount.write("a", b"after")
    clone = site.share(2, rules=[rule(ALICE)], snapshot_id="p1")
    site.driver.prepare_share(site.context(), clone)
    update = site.driver.create_share_from_snapshot(site.context(), clone, snapshot, server)
    copy = site.mount(update["export_locations"], ALICE)
    assert (copy.read("a"), mount.read("a")) == (b"before", b"after")
    assert (copy.size_gib(), mount.size_gib()) == (2, 1)
    volumes = {volume.owner: volume.id for volume in site.share_volumes()}
    disks = [site.cloud.disk(volumes[f"share/{one['id']}"]) for one in (share, clone)]
    assert [disk.signature for disk in disks] == ["xfs", "xfs"]
    assert disks[0].fs_uuid != disks[1].fs_uuid


def test_ensuring_repairs_what_was_lost(site: DriverOnMemory, server: Row) -> None:
    share = site.share(rules=[rule(ALICE)])
    locations = site.driver.create_share(site.context(), share, server)
    mount = site.mount(locations, ALICE)
    mount.write("a", b"data")
    volume = site.share_volumes()[0]
    instance = server["backend_details"]["instance_id"]
    accidents: list[Callable[[], None]] = [
        lambda: site.cloud.lose_exports(instance),
        lambda: site.cloud.lose_volume_attachment(volume.id),
    ]
    for accident in accidents:
        assert site.driver.differences(share, site.manager.health(server["backend_details"])) == ""
        accident()
        assert site.driver.differences(share, site.manager.health(server["backend_details"])) != ""
        assert site.driver.ensure_share(site.context(), share, server) == locations
        assert mount.read("a") == b"data"


def test_rules_are_applied_though_the_volume_was_unplugged(
    site: DriverOnMemory, server: Row
) -> None:
    share = site.share()
    locations = site.driver.create_share(site.context(), share, server)
    site.cloud.lose_volume_attachment(site.share_volumes()[0].id)
    assert site.update_access(share, server, rule(ALICE)) == {}
    assert site.client(ALICE).may_mount(locations[0]["path"])


def test_a_lost_volume_is_never_replaced_by_an_empty_one(site: DriverOnMemory, server: Row) -> None:
    share = site.share()
    site.driver.create_share(site.context(), share, server)
    site.cloud.delete_volume(site.share_volumes()[0].id)
    with pytest.raises(VolumeLost):
        site.driver.ensure_share(site.context(), share, server)
    assert site.share_volumes() == []


def test_foreign_data_is_never_formatted(site: DriverOnMemory, server: Row) -> None:
    share = site.share()
    site.driver.prepare_share(site.context(), share)
    volume = site.share_volumes()[0]
    site.cloud.write_signature(volume.id)
    with pytest.raises(DeviceNotBlank):
        site.driver.create_share(site.context(), share, server)
    assert site.cloud.disk(volume.id).signature == "LVM2_member"


def test_an_overtaken_operation_is_stopped_by_its_fence(site: DriverOnMemory, server: Row) -> None:
    share, old = site.share(rules=[rule(ALICE)]), site.context()
    locations = site.driver.create_share(site.context(), share, server)
    with pytest.raises(StaleFence):
        site.driver.update_access(old, share, [], [], [], share_server=server)
    assert site.client(ALICE).may_mount(locations[0]["path"])


def test_a_context_without_fence_is_newer_each_time(site: DriverOnMemory, server: Row) -> None:
    share = site.share()
    site.driver.create_share(object(), share, server)
    site.driver.ensure_share(None, share, server)


@pytest.mark.parametrize("verb", ["create_share", "ensure_share"])
def test_a_hung_instance_is_noticed_and_named(site: DriverOnMemory, server: Row, verb: str) -> None:
    share = site.share()
    site.driver.create_share(site.context(), share, server)
    site.cloud.hang_instance(server["backend_details"]["instance_id"])
    with pytest.raises(ServiceInstanceUnavailable, match="active, but does not answer"):
        getattr(site.driver, verb)(site.context(), share, share_server=server)
    with pytest.raises(ServiceInstanceUnavailable):
        site.driver.delete_share(site.context(), share, share_server=server)


def test_nothing_is_made_for_a_server_that_is_known_to_be_away(
    site: DriverOnMemory, server: Row
) -> None:
    site.cloud.kill_instance(server["backend_details"]["instance_id"])
    assert site.manager.answer(server["backend_details"]) == Answer.SILENT
    with pytest.raises(ServiceInstanceUnavailable, match="stopped"):
        site.driver.create_share(site.context(), site.share(), server)
    assert site.share_volumes() == []


def test_a_share_without_server_is_refused(site: DriverOnMemory) -> None:
    with pytest.raises(ServiceInstanceException, match="no share server"):
        site.driver.create_share(site.context(), site.share())
    assert site.leftovers() == {}


@pytest.mark.parametrize("accident", ["kill_instance", "delete_instance", "fail_instance"])
def test_a_share_can_be_deleted_without_its_instance(
    site: DriverOnMemory, server: Row, accident: str
) -> None:
    share = site.share()
    site.driver.create_share(site.context(), share, server)
    getattr(site.cloud, accident)(server["backend_details"]["instance_id"])
    site.driver.delete_share(site.context(), share, share_server=server)
    assert site.share_volumes() == []


def test_shares_of_one_server_are_ensured_apart_from_each_other(
    site: DriverOnMemory, server: Row
) -> None:
    good, bad = site.share(share_server=server), site.share(share_server=server)
    for share in (good, bad):
        site.driver.create_share(site.context(), share, server)
    site.driver.delete_share(site.context(), bad, server)
    updates = site.driver.ensure_shares(site.context(), [bad, good])
    assert updates[bad["id"]]["status"] == "error"
    assert updates[good["id"]]["status"] == "available"


def test_usage_comes_in_one_round_trip(site: DriverOnMemory, server: Row) -> None:
    shares = [site.share(rules=[rule(ALICE)], share_server=server) for _ in range(3)]
    for share in shares:
        site.mount(site.driver.create_share(site.context(), share, server), ALICE).write("a", b"12")
    start = site.cloud.journal.mark()
    usage = site.driver.get_share_usage(site.context(), server)
    assert site.cloud.journal.count("usage", since=start) == 1
    assert {usage[share["id"]].used_bytes for share in shares} == {2}


def test_smb_shares_have_smb_locations(site: DriverOnMemory, server: Row) -> None:
    share = site.share(share_proto="CIFS", rules=[rule(ALICE)])
    locations = site.driver.create_share(site.context(), share, server)
    address = server["backend_details"]["public_address"]
    assert locations[0]["path"] == rf"\\{address}\{share['id']}"
    site.mount(locations, ALICE).write("a", b"data")


def test_a_protocol_that_is_not_offered_is_refused(site: DriverOnMemory, server: Row) -> None:
    share = site.share(share_proto="HDFS")
    with pytest.raises(ShareBackendException, match="HDFS"):
        site.driver.prepare_share(site.context(), share)
    with pytest.raises(ShareBackendException, match="HDFS"):
        site.driver.create_share(site.context(), share, server)
    assert site.share_volumes() == []


def test_what_cannot_be_done_says_so(site: DriverOnMemory, server: Row) -> None:
    share = site.share()
    with pytest.raises(NotSupported, match="can't shrink a share"):
        site.driver.shrink_share(site.context(), share, 1, share_server=server)
    with pytest.raises(NotImplementedError):
        site.driver.manage_existing(share, {})


def test_stats_are_true(site: DriverOnMemory, server: Row) -> None:
    site.driver.create_share(site.context(), site.share(7), server)
    stats = site.driver.get_share_stats(refresh=True)
    (pool,) = stats["pools"]
    of_its_server = 1
    assert pool["provisioned_capacity_gb"] == 7 + of_its_server
    assert pool["total_capacity_gb"] - pool["free_capacity_gb"] == 7 + of_its_server
    assert stats["storage_protocol"] == "NFS_CIFS"
    assert stats["driver_handles_share_servers"] is True


def test_no_answer_from_the_cloud_is_passed_on(site: DriverOnMemory, server: Row) -> None:
    site.cloud.faults.fail("create_volume")
    share = site.share()
    with pytest.raises(CloudUnavailable) as caught:
        site.driver.create_share(site.context(), share, server)
    assert caught.value.retryable
    site.driver.create_share(site.context(), share, server)


def test_a_served_share_keeps_its_path_when_the_option_is_changed(
    site: DriverOnMemory, server: Row
) -> None:
    share = site.share(rules=[rule(ALICE)])
    before = site.driver.create_share(site.context(), share, server)
    mount = site.mount(before, ALICE)
    mount.write("a", b"old")
    site.driver = GenericShareDriver(
        cloud=site.cloud,
        storage=site.storage,
        service_instance_manager=site.manager,
        configuration=msgspec.structs.replace(site.options, share_mount_path="/srv/elsewhere"),
    )
    assert site.driver.ensure_share(site.context(), share, server) == before
    site.driver.extend_share(site.context(), share, 2, server)
    site.update_access(share, server, rule(ALICE), rule("10.9.0.6"))
    site.driver.create_snapshot(site.context(), {"id": "p9", "share_id": share["id"]}, server)
    assert mount.read("a") == b"old"
    assert site.cloud.accidents() == []
    other = site.share(rules=[rule(ALICE)])
    [location] = site.driver.create_share(site.context(), other, server)
    assert location["path"].endswith(f":/srv/elsewhere/{other['id']}")
    site.driver.delete_share(site.context(), share, server)
    site.driver.delete_share(site.context(), other, server)
