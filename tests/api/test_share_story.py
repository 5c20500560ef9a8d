"""The main job through Manila's own clients: ``atoll serve`` with a worker, simulated cloud."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from harness.wait import wait
from tests.api.served import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("manilaclient") is None,
        reason="the clients are not installed (uv sync --group clients)",
    ),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.mark.timeout(300)  # some thirty starts of a large program
def test_the_openstack_command(server: Server) -> None:
    server.openstack("create NFS 1 --name one --share-network default --wait")
    server.openstack("access create one ip 10.0.0.1 --access-level ro --wait")
    shown, listed, rules, locations, _, _, resized, snapshot, snapshots, its = server.openstack(
        "show one",
        "list",
        "access list one -f json",
        "export location list one",
        "set one --property a=b",
        "resize one 2 --wait",
        "show one",
        "snapshot create one --name snap --wait",
        "snapshot list",
        "snapshot show snap",
    )
    assert (shown["status"], shown["size"]) == ("available", 1)
    assert [each["Name"] for each in listed] == ["one"]
    assert [(each["Access To"], each["Access Level"], each["State"]) for each in rules] == [
        ("10.0.0.1", "ro", "active")
    ]
    assert len(locations) == 1
    assert resized["size"] == 2
    assert snapshot["status"] == "available"
    assert [each["Name"] for each in snapshots] == ["snap"]
    assert (its["size"], its["export_locations"]) == (2, [])
    server.openstack("create NFS 3 --name two --snapshot-id snap --wait")
    two, refused = server.attempt("show two -f json", "delete one")
    assert "available" in two["out"]
    assert "snapshot" in refused["err"]
    server.openstack(
        f"access delete one {rules[0]['ID']} --wait",
        "snapshot delete snap --wait",
        "delete one two --wait",
    )
    (left,) = server.openstack("list")
    assert left == []


def test_openstacksdk(server: Server) -> None:
    from harness.story import connect

    api: Any = connect(server.url, server.token, "2.65")
    (network,) = [each for each in api.share_networks() if each.name == "default"]
    share = api.create_share(
        name="sdk", size=1, share_protocol="NFS", share_network_id=network.id, metadata={"a": "b"}
    )
    share = api.wait_for_status(share, status="available", interval=0.1, wait=20)
    assert len(list(api.export_locations(share.id))) == 1
    rule = api.create_access_rule(
        share.id, access_type="ip", access_to="10.0.0.0/24", access_level="rw"
    )
    assert [each.id for each in api.access_rules(share)] == [rule.id]
    api.delete_access_rule(rule.id, share.id)
    wait("the rule to go", lambda: not list(api.access_rules(share)), 20)
    api.resize_share(share.id, 2)
    wait("the growth", lambda: api.get_share(share.id).size == 2, 20)
    snapshot = api.create_share_snapshot(share_id=share.id, name="snap")
    api.wait_for_status(snapshot, status="available", interval=0.1, wait=20)
    clone = api.create_share(name="clone", size=3, share_protocol="NFS", snapshot_id=snapshot.id)
    api.wait_for_status(clone, status="available", interval=0.1, wait=20)
    assert {each.name for each in api.shares(limit=1)} == {"sdk", "clone"}
    assert api.get_share_metadata_item(share.id, "a").metadata == {"a": "b"}
    api.delete_share(clone.id)
    api.wait_for_delete(clone, interval=0.1, wait=20)
    api.delete_share_snapshot(snapshot.id)
    api.wait_for_delete(snapshot, interval=0.1, wait=20)
    api.delete_share(share.id)
    api.wait_for_delete(share, interval=0.1, wait=20)
    assert list(api.shares()) == []
