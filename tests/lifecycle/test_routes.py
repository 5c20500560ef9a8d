"""Share servers behind a user's router, which the user changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.memory_deployment import CLIENT, ENDS, MemoryDeployment


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    made = new_deployment(reconcile_interval=0.3, connect_share_server_to_tenant_network=False)
    made.start_worker()
    return made


def reachable(deployment: MemoryDeployment, share_id: str) -> bool:
    try:
        return bool(deployment.mount(share_id).read("data") == b"precious")
    except TimeoutError:
        return False


def told(deployment: MemoryDeployment, share_id: str) -> list[str]:
    messages = deployment.call("GET", "/messages")["messages"]
    return [each["user_message"] for each in messages if each["resource_id"] == share_id]


def test_an_interface_that_was_unplugged_comes_back(deployment: MemoryDeployment) -> None:
    share_id = deployment.served()
    [subnet] = deployment.cloud.networks.list_subnets()
    assert subnet.router_id
    deployment.cloud.networks.disconnect_router(subnet.router_id, subnet.id)
    deployment.until(lambda: reachable(deployment, share_id), "the share to be reached")
    [text] = deployment.until(lambda: told(deployment, share_id), "the user to be told")
    assert "It is plugged in again" in text
    assert deployment.cloud.journal.count(ENDS) == 0


def test_a_router_that_was_made_again_is_used(deployment: MemoryDeployment) -> None:
    share_id = deployment.served()
    [subnet] = deployment.cloud.networks.list_subnets()
    old = str(subnet.router_id)
    user = deployment.users_subnet()
    deployment.cloud.networks.disconnect_router(old, subnet.id)
    deployment.cloud.remove_router(old)

    def asks_for_a_router() -> bool:
        return any("router at its gateway's address" in text for text in told(deployment, share_id))

    deployment.until(asks_for_a_router, "the user to be told")
    assert not reachable(deployment, share_id)
    new = deployment.cloud.add_router(user)
    deployment.until(lambda: reachable(deployment, share_id), "the share to be reached")
    [subnet] = deployment.cloud.networks.list_subnets()
    assert subnet.router_id == new != old
    assert deployment.cloud.client(CLIENT).may_mount(deployment.export(share_id))
