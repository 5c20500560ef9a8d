"""A share network names only networks that its project may use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from atoll.cloud.base import Network
from atoll.cloud.memory import MemoryCloud
from harness.memory_deployment import MemoryDeployment

REFUSAL = "could not be found, or your project may not use it"


def refusals(deployment: MemoryDeployment, share_network: str) -> list[str]:
    """What the project was told of this share network."""
    told = deployment.call("GET", f"/messages?resource_id={share_network}")["messages"]
    return [each["user_message"] for each in told if REFUSAL in each["user_message"]]


def subnet_of(deployment: MemoryDeployment, share_network: str) -> dict[str, Any]:
    """The share network's one subnet."""
    shown = deployment.call("GET", f"/share-networks/{share_network}")["share_network"]
    (subnet,) = shown["share_network_subnets"]
    return dict(subnet)


def named(deployment: MemoryDeployment, network_id: str, subnet_id: str) -> str:
    """A share network that names these, once it is described or refused; its id."""
    wish = {"neutron_net_id": network_id, "neutron_subnet_id": subnet_id}
    made = deployment.call("POST", "/share-networks", {"share_network": wish})["share_network"][
        "id"
    ]
    deployment.until(
        lambda: bool(subnet_of(deployment, made)["cidr"] or refusals(deployment, made)),
        "a decision",
    )
    return str(made)


@pytest.mark.parametrize(
    "whose", ["managed", "service", "another deployment's", "another project's"]
)
def test_a_network_of_others_is_refused_and_stays_free(
    deployment: MemoryDeployment, whose: str
) -> None:
    path = deployment.settings.state_dir / "memory-cloud.sqlite"
    with closing(MemoryCloud("other", path=path)) as others:
        if whose == "managed":
            deployment.settled(deployment.create())
            subnet = subnet_of(deployment, deployment.network())
            ids = subnet["neutron_net_id"], subnet["neutron_subnet_id"]
        else:
            kinds: dict[str, Callable[[], Network]] = {
                "service": deployment.cloud.networks.service_network,
                "another deployment's": others.networks.service_network,
                "another project's": lambda: others.networks.create_network("project/blue"),
            }
            found = kinds[whose]()
            ids = found.id, found.subnets[0].id
        before = len(deployment.cloud.networks.list_ports())
        share_network = named(deployment, *ids)
        assert refusals(deployment, share_network)
        assert subnet_of(deployment, share_network)["cidr"] is None
        assert len(deployment.cloud.networks.list_ports()) == before
        deployment.call("DELETE", f"/share-networks/{share_network}")


def test_a_network_that_is_taken_instead_is_looked_at_too(deployment: MemoryDeployment) -> None:
    path = deployment.settings.state_dir / "memory-cloud.sqlite"
    with closing(MemoryCloud("user", path=path)) as user:
        [mine] = user.networks.create_network("user/mine", "10.7.0.0/24").subnets
        [theirs] = user.networks.create_network("project/blue", "10.8.0.0/24").subnets
    share_network = named(deployment, mine.network_id, mine.id)
    assert subnet_of(deployment, share_network)["cidr"] == "10.7.0.0/24"
    wish = {"neutron_net_id": theirs.network_id, "neutron_subnet_id": theirs.id}
    deployment.call("PUT", f"/share-networks/{share_network}", {"share_network": wish})
    deployment.until(lambda: bool(refusals(deployment, share_network)), "the refusal")
    assert subnet_of(deployment, share_network)["cidr"] is None
