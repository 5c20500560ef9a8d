"""What the API accepts for its clients' sake, and what a real worker then makes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atoll.db.tables import share_servers, shares, snapshots
from harness.memory_deployment import MemoryDeployment
from tests import rows

pytestmark = pytest.mark.both_databases


def reset(deployment: MemoryDeployment, path: str, status: str) -> None:
    deployment.call("POST", f"{path}/action", {"reset_status": {"status": status}})


def next_pass(deployment: MemoryDeployment) -> None:
    """Have the worker look at everything once more, and wait until it has."""
    other = deployment.create()
    assert deployment.settled(other)["status"] == "available"
    deployment.call("DELETE", f"/shares/{other}")
    deployment.until(
        lambda: all(one["id"] != other for one in deployment.call("GET", "/shares")["shares"]),
        "the other share to go",
    )


@pytest.mark.parametrize("status", ["deleting", "creating", "extending", "migrating"])
def test_a_status_set_by_hand_stays_and_nothing_is_lost(
    new_deployment: Callable[..., MemoryDeployment], status: str
) -> None:
    deployment = new_deployment(reconcile_interval=0.3)
    deployment.start_worker()
    share_id = deployment.create()
    assert deployment.settled(share_id)["status"] == "available"
    rule = deployment.allow(share_id)
    assert deployment.settled(share_id)["access_rules_status"] == "active"
    deployment.mount(share_id).write("data", b"precious")
    snapshot_id = deployment.snapshot(share_id)
    deployment.until(
        lambda: (
            deployment.call("GET", f"/snapshots/{snapshot_id}")["snapshot"]["status"] == "available"
        ),
        "the snapshot",
    )
    reset(deployment, f"/shares/{share_id}", status)
    snapshots_status = "migrating" if status == "extending" else status
    reset(deployment, f"/snapshots/{snapshot_id}", snapshots_status)
    deployment.act(share_id, deny_access={"access_id": rule})  # asks for the share to be looked at
    next_pass(deployment)

    assert deployment.share(share_id)["status"] == status
    listed = deployment.call("GET", f"/shares?status={status}")["shares"]
    assert [one["id"] for one in listed] == [share_id]
    snapshot = deployment.call("GET", f"/snapshots/{snapshot_id}")["snapshot"]
    assert snapshot["status"] == snapshots_status
    with deployment.database.read() as connection:
        assert rows.get(connection, shares, share_id)
        assert rows.get(connection, snapshots, snapshot_id)
    reset(deployment, f"/snapshots/{snapshot_id}", "available")
    reset(deployment, f"/shares/{share_id}", "available")
    deployment.allow(share_id, "10.0.0.202")
    assert deployment.settled(share_id)["status"] == "available"
    assert deployment.mount(share_id, "10.0.0.202").read("data") == b"precious"


def test_a_share_server_set_to_deleting_serves_on(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    deployment = new_deployment(reconcile_interval=0.3)
    deployment.start_worker()
    share_id = deployment.create()
    assert deployment.settled(share_id)["status"] == "available"
    deployment.allow(share_id)
    assert deployment.settled(share_id)["access_rules_status"] == "active"
    server = deployment.share(share_id)["share_server_id"]
    reset(deployment, f"/share-servers/{server}", "deleting")
    assert (
        deployment.call("GET", "/share-servers?status=deleting")["share_servers"][0]["id"] == server
    )
    next_pass(deployment)
    assert (
        deployment.call("GET", f"/share-servers/{server}")["share_server"]["status"] == "deleting"
    )
    with deployment.database.read() as connection:
        assert rows.get(connection, share_servers, server)
    deployment.mount(share_id).write("data", b"precious")
    reset(deployment, f"/share-servers/{server}", "active")


@pytest.mark.parametrize(("kind", "to"), [("cert", "client.example.org"), ("cephx", "alice")])
def test_rules_of_types_that_no_protocol_has_are_their_own_error(
    deployment: MemoryDeployment, kind: str, to: str
) -> None:
    share_id = deployment.create()
    deployment.settled(share_id)
    deployment.allow(share_id)
    deployment.act(share_id, allow_access={"access_type": kind, "access_to": to})
    assert deployment.settled(share_id)["access_rules_status"] == "error"
    assert deployment.rules(share_id) == {"10.0.0.201": "active", to: "error"}
    [message] = deployment.call("GET", f"/messages?resource_id={share_id}")["messages"]
    assert kind in message["user_message"]
    deployment.mount(share_id).write("data", b"served all the same")


def test_a_network_that_we_made_goes_when_its_subnet_gets_ids(deployment: MemoryDeployment) -> None:
    made = deployment.call("POST", "/share-networks", {"share_network": {}})["share_network"]
    path = f"/share-networks/{made['id']}"

    def subnets() -> list[dict[str, str]]:
        found: list[dict[str, str]] = deployment.call("GET", path)["share_network"][
            "share_network_subnets"
        ]
        return found

    old = deployment.until(lambda: subnets() if subnets()[0]["cidr"] else None, "the network")[0]
    user = deployment.cloud.networks.create_network("user/1", "10.77.0.0/24").subnets[0]
    ids = {"neutron_net_id": user.network_id, "neutron_subnet_id": user.id}
    deployment.call("PUT", path, {"share_network": ids})
    new = deployment.until(lambda: subnets() if subnets()[0]["cidr"] else None, "the other network")
    assert [(one["neutron_net_id"], one["cidr"]) for one in new] == [
        (user.network_id, "10.77.0.0/24")
    ]
    deployment.until(
        lambda: (
            old["neutron_net_id"]
            not in [one.id for one in deployment.cloud.networks.list_networks()]
        ),
        "our network to go",
    )
    share_id = deployment.create(share_network_id=made["id"])
    assert deployment.settled(share_id)["status"] == "available"
    assert deployment.export(share_id).startswith("10.77.0.")
