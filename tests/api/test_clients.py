"""Manila's own clients against a real server on loopback, with no Keystone anywhere."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.api.served import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("manilaclient") is None,
        reason="the clients are not installed (uv sync --group clients)",
    ),
    pytest.mark.filterwarnings("ignore"),
]


def test_the_administrators_round(server: Server) -> None:
    types, made, services, pools, messages, limits, zones = server.openstack(
        "type list",
        "type create gold true --description fast --extra-specs snapshot_support=True",
        "service list",
        "pool list --detail",
        "message list",
        "limits show --absolute",
        "availability zone list",
    )
    assert [(one["Name"], one["Is Default"]) for one in types] == [("default", True)]
    assert (made["name"], made["description"]) == ("gold", "fast")
    assert [(one["Binary"], one["State"]) for one in services] == [("manila-share", "up")]
    assert pools[0]["Capabilities"]["total_capacity_gb"] > 0
    assert messages == []
    assert {one["Name"]: one["Value"] for one in limits}["maxTotalShares"] == 50
    assert [one["Name"] for one in zones] == ["nova"]
    server.openstack(
        "type set gold --public false",
        "type access create gold default",
        "type unset gold snapshot_support",
        "type delete gold",
        f"service set {services[0]['Host']} manila-share --disable",
        f"service set {services[0]['Host']} manila-share --enable",
    )


def test_quotas_by_project_name(server: Server) -> None:
    before, _, by_type, after, detail, _, end = server.openstack(
        "quota show default",
        "quota set default --shares 7 --per-share-gigabytes 5",
        "quota show default --share-type default",
        "quota show default",
        "quota show default --detail",
        "quota delete default",
        "quota show default --defaults",
    )
    (unknown,) = server.attempt("quota show nobody")
    assert (before["shares"], after["shares"], end["shares"]) == (50, 7, 50)
    assert by_type["per_share_gigabytes"] == 5
    assert "share_networks" not in by_type
    assert "limit" in str(detail["shares"])
    assert unknown["code"] != 0
    assert "No project with a name or ID of 'nobody'" in unknown["err"]


def test_share_networks(server: Server) -> None:
    made, shown, listed, _, _ = server.openstack(
        "network create --name mine",
        "network show mine",
        "network list --detail --name mine",
        "network set mine --name yours --description ours",
        "network delete yours --wait",
    )
    assert made["status"] == "active"
    assert shown["id"] == made["id"]
    assert [one["ID"] for one in listed] == [made["id"]]
    (left,) = server.openstack("network list")
    assert "yours" not in [one["Name"] for one in left]
    (refused,) = server.attempt("security service create active_directory")
    assert "no security services" in refused["err"]


def test_openstacksdk_without_a_microversion(server: Server) -> None:
    from harness.story import connect

    shared: Any = connect(server.url, server.token, None)
    made = [shared.create_share_network(name=f"sdk-{number}") for number in range(3)]
    names = {one.name for one in shared.share_networks(limit=1)}
    assert {"sdk-0", "sdk-1", "sdk-2"} <= names
    found = [one.id for one in shared.share_networks(details=True, name="sdk-1")]
    assert found == [made[1].id]
    shared.update_share_network(made[1], description="changed")
    assert shared.get_share_network(made[1].id).description == "changed"
    for network in made:
        shared.delete_share_network(network)
    assert [one.name for one in shared.availability_zones()] == ["nova"]
    assert next(shared.storage_pools()).name.endswith("#memory")
    assert list(shared.user_messages()) == []
