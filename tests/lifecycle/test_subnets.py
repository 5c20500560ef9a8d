"""A share network with several subnets: each share is where its zone's subnet is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from atoll.cloud.base import Subnet
from atoll.cloud.memory import MemoryCloud
from harness.memory_deployment import MemoryDeployment


@pytest.fixture
def users(deployment: MemoryDeployment) -> Iterator[MemoryCloud]:
    """The user's own part of the cloud."""
    with closing(
        MemoryCloud("user", path=deployment.settings.state_dir / "memory-cloud.sqlite")
    ) as own:
        yield own


def subnet(users: MemoryCloud, name: str, cidr: str) -> Subnet:
    return users.networks.create_network(f"user/{name}", cidr).subnets[0]


def test_each_share_is_on_the_subnet_of_its_zone(
    deployment: MemoryDeployment, users: MemoryCloud
) -> None:
    first, second = subnet(users, "one", "10.7.0.0/24"), subnet(users, "two", "fd00:7::/64")
    wish = {"neutron_net_id": first.network_id, "neutron_subnet_id": first.id}
    made = deployment.call("POST", "/share-networks", {"share_network": wish})["share_network"]
    path = f"/share-networks/{made['id']}/subnets"
    old = deployment.create(share_network_id=made["id"])
    assert deployment.settled(old)["status"] == "available"

    wish = {"neutron_net_id": second.network_id, "neutron_subnet_id": second.id}
    body = {"share-network-subnet": wish | {"availability_zone": "nova"}}
    added = deployment.call("POST", path, body)["share_network_subnet"]
    new = deployment.create(share_network_id=made["id"])
    assert deployment.settled(new)["status"] == "available"
    assert deployment.export(old).startswith("10.7.0.")
    assert deployment.export(new).startswith("[fd00:7::")
    assert deployment.share(old)["share_server_id"] != deployment.share(new)["share_server_id"]
    for share_id, client in ((old, "10.7.0.201"), (new, "fd00:7::201")):
        deployment.allow(share_id, client)
        assert deployment.settled(share_id)["access_rules_status"] == "active"
        deployment.mount(share_id, client).write("data", b"precious")

    deployment.call("DELETE", f"/shares/{new}")
    deployment.until(
        lambda: len(deployment.call("GET", "/shares")["shares"]) == 1, "the share to go"
    )
    deployment.call("DELETE", f"{path}/{added['id']}")
    deployment.until(
        lambda: len(deployment.call("GET", "/share-servers")["share_servers"]) == 1,
        "its server to go",
    )
    assert len(deployment.call("GET", path)["share_network_subnets"]) == 1
    assert deployment.mount(old, "10.7.0.201").read("data") == b"precious"
    deployment.empty()
