"""Where ``openstack`` is tested: the cloud that ``OS_CLOUD`` names (or the ``OS_…`` variables).

``ATOLL_TEST_NEUTRON_HOST`` is this machine's name among Neutron's agents, where it differs from the
host name; ``ATOLL_TEST_NEUTRON_INTERFACE`` how it is plugged in (``linuxbridge``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from atoll.cloud.openstack import OpenStackCloud, OpenStackSettings
from atoll.cloud.openstack.api import Api

RUN = uuid4().hex[:6]
"""Others may test on the same cloud at the same time."""


def openstack_settings(place: Path, **changes: Any) -> OpenStackSettings:
    """What all tests use."""
    options: dict[str, Any] = {
        "cloud": os.environ.get("OS_CLOUD", ""),
        "service_network_cidr": "10.240.0.0/16",
        "service_network_host": os.environ.get("ATOLL_TEST_NEUTRON_HOST", ""),
        "service_network_interface": os.environ.get("ATOLL_TEST_NEUTRON_INTERFACE", "linuxbridge"),
    }
    return OpenStackSettings(state_dir=place, **(options | changes))


def make_openstack(place: Path, deployment: str, **changes: Any) -> OpenStackCloud:
    """A cloud for one deployment of this run."""
    return OpenStackCloud(f"{deployment}-{RUN}", openstack_settings(place, **changes))


def on_openstack(test: Any) -> Any:
    """Mark a test that needs an OpenStack, and some minutes at worst."""
    return pytest.mark.openstack(pytest.mark.timeout(600)(test))


@dataclass(frozen=True)
class UsersNetwork:
    """What a user has: a network, a subnet, and perhaps a router that is its gateway."""

    network_id: str
    subnet_id: str
    router_id: str = ""


@contextmanager
def users_network(api: Api, cidr: str, *, gateway: bool, router: bool) -> Iterator[UsersNetwork]:
    """Made and taken away as a user would."""
    name = f"test-{uuid4().hex[:8]}"
    network_id = api.post("/networks", {"network": {"name": name}})["network"]["id"]
    router_id = ""
    try:
        wish: dict[str, Any] = {"network_id": network_id, "cidr": cidr}
        wish["ip_version"] = 6 if ":" in cidr else 4
        if not gateway:
            wish["gateway_ip"] = None
        subnet_id = api.post("/subnets", {"subnet": wish})["subnet"]["id"]
        if router:
            router_id = api.post("/routers", {"router": {"name": name}})["router"]["id"]
            api.put(f"/routers/{router_id}/add_router_interface", {"subnet_id": subnet_id})
        yield UsersNetwork(network_id, subnet_id, router_id)
    finally:
        if router_id:
            for port in list(api.list("/ports", "ports", device_id=router_id)):
                path = f"/routers/{router_id}/remove_router_interface"
                api.put(path, {"port_id": port["id"]})
            api.delete(f"/routers/{router_id}")
        api.delete(f"/networks/{network_id}")
