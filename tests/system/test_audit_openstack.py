"""The leak audit sees what it is for, so that its silence means something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import openstack
import pytest

from harness.audit import Audit, deployment_mark, users_mark
from harness.openstack_choices import external_network
from harness.user_network import UserNetwork

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]

RUN = f"test{uuid4().hex[:6]}"
MARK = users_mark(RUN)


@pytest.fixture
def cloud() -> Iterator[Any]:
    connection: Any = openstack.connect(app_name="atoll-test")
    yield connection
    connection.close()


@pytest.fixture
def audit(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> Audit:
    monkeypatch.delenv("ATOLL_DEMO_PROJECT_IS_SHARED", raising=False)
    return Audit(cloud)


def test_a_users_things_are_seen_until_they_are_gone(cloud: Any, audit: Audit) -> None:
    user = UserNetwork(cloud, RUN, external_network(cloud))
    try:
        user.make()
        user.plug("client")
        seen = audit.of(MARK)
        kinds = {thing.kind for thing in seen}
        assert kinds == {"network", "subnet", "router", "port", "security group", "floating ip"}
        at_router = [t for t in seen if t.detail == "network:router_interface"]
        assert len(at_router) == 1
        assert len(audit.left(MARK, patience=0)) >= len(seen)
    finally:
        user.remove()
    assert not [line for line in audit.left(MARK, patience=20) if MARK in line]


def test_what_is_new_and_nobodys_is_seen(cloud: Any, audit: Audit) -> None:
    name = f"stray-{RUN}"
    made = {
        "security group": cloud.network.create_security_group(name=name),
        "key pair": cloud.compute.create_keypair(name=name),
        "server group": cloud.compute.create_server_group(name=name, policies=["anti-affinity"]),
        "volume": cloud.block_storage.create_volume(name=name, size=1),
    }
    try:
        seen = [line for line in audit.left(patience=0) if name in line]
        assert len(seen) == len(made)
        assert all(any(line.startswith(kind) for line in seen) for kind in made)
    finally:
        cloud.network.delete_security_group(made["security group"])
        cloud.compute.delete_keypair(made["key pair"])
        cloud.compute.delete_server_group(made["server group"])
        volume = cloud.block_storage.wait_for_status(made["volume"], "available")
        cloud.block_storage.delete_volume(volume)
    assert not [line for line in audit.left(patience=20) if name in line]


def test_anothers_things_are_not_ours(cloud: Any, audit: Audit) -> None:
    theirs, ours = deployment_mark(f"{RUN}-theirs"), deployment_mark(f"{RUN}-ours")
    network = cloud.network.create_network(name=RUN, description=f"{theirs} service_network")
    try:
        port = cloud.network.create_port(network_id=network.id)
        assert not [line for line in audit.left(ours, patience=0) if port.id in line]
        assert [line for line in audit.left(theirs, patience=0) if port.id in line]
    finally:
        for each in cloud.network.ports(network_id=network.id):
            cloud.network.delete_port(each.id)
        cloud.network.delete_network(network.id)
