"""A share network with several subnets: each share is where its zone's subnet is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from atoll.cloud.base import Subnet
from atoll.cloud.memory import MemoryCloud
from tests.lifecycle.house import House


@pytest.fixture
def users(house: House) -> Iterator[MemoryCloud]:
    """The user's own part of the cloud."""
    with closing(MemoryCloud("user", path=house.settings.state_dir / "memory-cloud.sqlite")) as own:
        yield own


def subnet(users: MemoryCloud, name: str, cidr: str) -> Subnet:
    return users.networks.create_network(f"user/{name}", cidr).subnets[0]


def test_each_share_is_on_the_subnet_of_its_zone(house: House, users: MemoryCloud) -> None:
    first, second = subnet(users, "one", "10.7.0.0/24"), subnet(users, "two", "fd00:7::/64")
    wish = {"neutron_net_id": first.network_id, "neutron_subnet_id": first.id}
    made = house.call("POST", "/share-networks", {"share_network": wish})["share_network"]
    path = f"/share-networks/{made['id']}/subnets"
    old = house.create(share_network_id=made["id"])
    assert house.settled(old)["status"] == "available"

    wish = {"neutron_net_id": second.network_id, "neutron_subnet_id": second.id}
    body = {"share-network-subnet": wish | {"availability_zone": "nova"}}
    added = house.call("POST", path, body)["share_network_subnet"]
    new = house.create(share_network_id=made["id"])
    assert house.settled(new)["status"] == "available"
    assert house.export(old).startswith("10.7.0.")
    assert house.export(new).startswith("[fd00:7::")
    assert house.share(old)["share_server_id"] != house.share(new)["share_server_id"]
    for share_id, client in ((old, "10.7.0.201"), (new, "fd00:7::201")):
        house.allow(share_id, client)
        assert house.settled(share_id)["access_rules_status"] == "active"
        house.mount(share_id, client).write("data", b"precious")

    house.call("DELETE", f"/shares/{new}")
    house.until(lambda: len(house.call("GET", "/shares")["shares"]) == 1, "the share to go")
    house.call("DELETE", f"{path}/{added['id']}")
    house.until(
        lambda: len(house.call("GET", "/share-servers")["share_servers"]) == 1, "its server to go"
    )
    assert len(house.call("GET", path)["share_network_subnets"]) == 1
    assert house.mount(old, "10.7.0.201").read("data") == b"precious"
    house.empty()
