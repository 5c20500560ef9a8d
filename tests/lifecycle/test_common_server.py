"""A back end without share servers, from the API to the administrator's instance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.cli.doctor import examine
from atoll.cloud.base import Finding
from harness.memory_deployment import ENDS, MemoryDeployment
from tests import common_server


@pytest.fixture
def common(new_deployment: Callable[..., MemoryDeployment], tmp_path: Path) -> MemoryDeployment:
    deployment = new_deployment(**common_server.options(tmp_path), reconcile_interval=0.3)
    common_server.make(deployment.settings.state_dir / "memory-cloud.sqlite")
    deployment.start_worker()
    return deployment


def create(deployment: MemoryDeployment, **more: object) -> str:
    return deployment.create(share_network_id=None, **more)


def test_a_share_is_made_filled_grown_copied_and_removed(common: MemoryDeployment) -> None:
    share_id = create(common)
    share = common.settled(share_id)
    assert share["status"] == "available"
    assert share["share_network_id"] is None
    common.allow(share_id)
    common.settled(share_id)
    mount = common.mount(share_id)
    mount.write("data", b"precious")
    common.act(share_id, extend={"new_size": 2})
    assert common.settled(share_id)["size"] == 2

    snapshot_id = common.snapshot(share_id)
    path = f"/snapshots/{snapshot_id}"
    common.until(
        lambda: common.call("GET", path)["snapshot"]["status"] == "available", "the snapshot"
    )
    copy_id = create(common, size=2, snapshot_id=snapshot_id)
    assert common.settled(copy_id)["status"] == "available"
    common.allow(copy_id, level="ro")
    common.settled(copy_id)
    assert common.mount(copy_id).read("data") == b"precious"

    assert common.call("GET", "/share-servers")["share_servers"] == []
    common.empty()
    nas = common.cloud.compute.find_instance(common_server.NAME)
    assert nas is not None
    assert nas.status == "active"
    assert nas.volume_ids == ()


def test_what_is_lost_there_is_repaired(common: MemoryDeployment) -> None:
    share_id = create(common)
    common.settled(share_id)
    common.allow(share_id)
    common.settled(share_id)
    nas = common.cloud.compute.find_instance(common_server.NAME)
    assert nas is not None
    common.cloud.lose_exports(nas.id)
    location = common.export(share_id)
    client = common.cloud.client("10.0.0.201")
    common.until(lambda: client.may_mount(location), "the export to come back")
    common.cloud.hang_instance(nas.id)
    mark = common.cloud.journal.mark()
    common.until(lambda: common.cloud.journal.count("open_guest", since=mark) > 1, "some passes")
    common.cloud.hang_instance(nas.id, hung=False)
    common.until(lambda: client.may_mount(location), "the server to be itself again")
    assert not common.cloud.journal.calls("reboot_instance")
    assert not common.cloud.journal.calls(ENDS)


def test_a_type_of_the_other_kind_ends_in_error(
    common: MemoryDeployment, deployment: MemoryDeployment
) -> None:
    """On either kind of back end, with a message that says why."""
    for there, handles in ((common, True), (deployment, False)):
        specs = {"driver_handles_share_servers": str(handles)}
        wish = {"share_type": {"name": "other", "extra_specs": specs}}
        there.call("POST", "/types", wish)
        network = None
        if handles:
            made = there.call("POST", "/share-networks", {"share_network": {}})
            network = made["share_network"]["id"]
        share_id = there.create(share_type="other", share_network_id=network)
        assert there.settled(share_id)["status"] == "error"
        [message] = there.call("GET", "/messages")["messages"]
        assert "driver_handles_share_servers" in message["user_message"]
        there.empty()


def test_the_doctor_looks_for_it(
    new_deployment: Callable[..., MemoryDeployment], tmp_path: Path
) -> None:
    deployment = new_deployment(**common_server.options(tmp_path))

    def finding() -> Finding:
        return next(each for each in examine(deployment.settings) if each.check == "Common server")

    assert not finding().ok
    assert common_server.NAME in finding().detail
    common_server.make(deployment.settings.state_dir / "memory-cloud.sqlite")
    assert finding().ok
