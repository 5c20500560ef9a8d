"""What the API accepts for its clients' sake, and what a real worker then makes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atoll.db.tables import share_servers, shares, snapshots
from tests import rows
from tests.lifecycle.house import House


def reset(house: House, path: str, status: str) -> None:
    house.call("POST", f"{path}/action", {"reset_status": {"status": status}})


def next_pass(house: House) -> None:
    """Have the worker look at everything once more, and wait until it has."""
    other = house.create()
    assert house.settled(other)["status"] == "available"
    house.call("DELETE", f"/shares/{other}")
    house.until(
        lambda: all(one["id"] != other for one in house.call("GET", "/shares")["shares"]),
        "the other share to go",
    )


@pytest.mark.parametrize("status", ["deleting", "creating", "extending", "migrating"])
def test_a_status_set_by_hand_stays_and_nothing_is_lost(
    new_house: Callable[..., House], status: str
) -> None:
    house = new_house(reconcile_interval=0.3)
    house.start_worker()
    share_id = house.create()
    assert house.settled(share_id)["status"] == "available"
    rule = house.allow(share_id)
    assert house.settled(share_id)["access_rules_status"] == "active"
    house.mount(share_id).write("data", b"precious")
    snapshot_id = house.snapshot(share_id)
    house.until(
        lambda: house.call("GET", f"/snapshots/{snapshot_id}")["snapshot"]["status"] == "available",
        "the snapshot",
    )
    reset(house, f"/shares/{share_id}", status)
    snapshots_status = "migrating" if status == "extending" else status
    reset(house, f"/snapshots/{snapshot_id}", snapshots_status)
    house.act(share_id, deny_access={"access_id": rule})  # asks for the share to be looked at
    next_pass(house)

    assert house.share(share_id)["status"] == status
    listed = house.call("GET", f"/shares?status={status}")["shares"]
    assert [one["id"] for one in listed] == [share_id]
    snapshot = house.call("GET", f"/snapshots/{snapshot_id}")["snapshot"]
    assert snapshot["status"] == snapshots_status
    with house.database.read() as connection:
        assert rows.get(connection, shares, share_id)
        assert rows.get(connection, snapshots, snapshot_id)
    reset(house, f"/snapshots/{snapshot_id}", "available")
    reset(house, f"/shares/{share_id}", "available")
    house.allow(share_id, "10.0.0.202")
    assert house.settled(share_id)["status"] == "available"
    assert house.mount(share_id, "10.0.0.202").read("data") == b"precious"


def test_a_share_server_set_to_deleting_serves_on(new_house: Callable[..., House]) -> None:
    house = new_house(reconcile_interval=0.3)
    house.start_worker()
    share_id = house.create()
    assert house.settled(share_id)["status"] == "available"
    house.allow(share_id)
    assert house.settled(share_id)["access_rules_status"] == "active"
    server = house.share(share_id)["share_server_id"]
    reset(house, f"/share-servers/{server}", "deleting")
    assert house.call("GET", "/share-servers?status=deleting")["share_servers"][0]["id"] == server
    next_pass(house)
    assert house.call("GET", f"/share-servers/{server}")["share_server"]["status"] == "deleting"
    with house.database.read() as connection:
        assert rows.get(connection, share_servers, server)
    house.mount(share_id).write("data", b"precious")
    reset(house, f"/share-servers/{server}", "active")


@pytest.mark.parametrize(("kind", "to"), [("cert", "client.example.org"), ("cephx", "alice")])
def test_rules_of_types_that_no_protocol_has_are_their_own_error(
    house: House, kind: str, to: str
) -> None:
    share_id = house.create()
    house.settled(share_id)
    house.allow(share_id)
    house.act(share_id, allow_access={"access_type": kind, "access_to": to})
    assert house.settled(share_id)["access_rules_status"] == "error"
    assert house.rules(share_id) == {"10.0.0.201": "active", to: "error"}
    [message] = house.call("GET", f"/messages?resource_id={share_id}")["messages"]
    assert kind in message["user_message"]
    house.mount(share_id).write("data", b"served all the same")


def test_a_network_that_we_made_goes_when_its_subnet_gets_ids(house: House) -> None:
    made = house.call("POST", "/share-networks", {"share_network": {}})["share_network"]
    path = f"/share-networks/{made['id']}"

    def subnets() -> list[dict[str, str]]:
        found: list[dict[str, str]] = house.call("GET", path)["share_network"][
            "share_network_subnets"
        ]
        return found

    old = house.until(lambda: subnets() if subnets()[0]["cidr"] else None, "the network")[0]
    user = house.cloud.networks.create_network("user/1", "10.77.0.0/24").subnets[0]
    ids = {"neutron_net_id": user.network_id, "neutron_subnet_id": user.id}
    house.call("PUT", path, {"share_network": ids})
    new = house.until(lambda: subnets() if subnets()[0]["cidr"] else None, "the other network")
    assert [(one["neutron_net_id"], one["cidr"]) for one in new] == [
        (user.network_id, "10.77.0.0/24")
    ]
    house.until(
        lambda: (
            old["neutron_net_id"] not in [one.id for one in house.cloud.networks.list_networks()]
        ),
        "our network to go",
    )
    share_id = house.create(share_network_id=made["id"])
    assert house.settled(share_id)["status"] == "available"
    assert house.export(share_id).startswith("10.77.0.")
