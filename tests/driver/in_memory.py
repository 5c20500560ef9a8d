"""A simulated cloud with a driver on it, and the few things that every test makes there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from atoll.cloud.base import Volume
from atoll.cloud.memory import MemoryClient, MemoryCloud, Mount
from atoll.config import Driver as Options
from atoll.driver.generic import GenericShareDriver
from atoll.driver.service_instance import ServiceInstanceManager
from atoll.driver.storage import MemoryStorage
from atoll.guest.pool import GuestPool

Row = Any
"""A mapping, as callers of the driver hand it over; a stock Manila has classes of its own."""


class Context:
    """A caller's context: an operation with its fence."""

    def __init__(self, fence: int) -> None:
        self.fence = fence


class DriverOnMemory:
    def __init__(
        self,
        cloud: MemoryCloud | None = None,
        storage: MemoryStorage | None = None,
        **options: Any,
    ) -> None:
        self.cloud = cloud or MemoryCloud("test", silence=0.01)
        self.storage = storage or MemoryStorage()
        self.options = Options(**{"max_time_to_build_instance": 2} | options)
        self.pool = GuestPool()
        self._fences = itertools.count(1)
        self.network = self.cloud.networks.create_network("share_network_subnet/n1")
        self.manager = ServiceInstanceManager(
            self.options, cloud=self.cloud, storage=self.storage, pool=self.pool
        )
        self.driver = GenericShareDriver(
            cloud=self.cloud,
            storage=self.storage,
            service_instance_manager=self.manager,
            configuration=self.options,
        )

    def share_volumes(self) -> list[Volume]:
        """The volumes of shares, without those that hold the state of servers."""
        return [v for v in self.cloud.volumes.list_volumes() if v.owner.startswith("share/")]

    def context(self) -> Context:
        return Context(next(self._fences))

    def network_info(self, server_id: str = "s1") -> Row:
        return {
            "server_id": server_id,
            "neutron_net_id": self.network.id,
            "neutron_subnet_id": self.network.subnets[0].id,
        }

    def server(self, server_id: str = "s1", **more: Any) -> Row:
        details = self.driver.setup_server([self.network_info(server_id)], **more)
        return {"id": server_id, "status": "active", "backend_details": details}

    def share(self, size: int = 1, rules: Sequence[Row] | None = None, **more: Any) -> Row:
        row: Row = {"id": str(uuid4()), "size": size, "share_proto": "NFS"}
        return row | ({} if rules is None else {"access_rules": list(rules)}) | more

    def update_access(self, share: Row, server: Row, *rules: Row) -> dict[str, Any]:
        updates = self.driver.update_access(
            self.context(), share, rules, [], [], share_server=server
        )
        return dict(updates or {})

    def client(self, address: str) -> MemoryClient:
        return self.cloud.client(address)

    def mount(self, locations: Sequence[Any], address: str) -> Mount:
        return self.client(address).mount(locations[0]["path"])

    def leftovers(self) -> dict[str, list[str]]:
        """What is there beside the user's network, and what is remembered of anything."""
        found = self.cloud.leaks()
        found.pop("networks", None)
        if remembered := self.storage.resources():
            found["remembered"] = remembered
        return found


class RoutedDriverOnMemory(DriverOnMemory):
    """A site whose instances have one interface, behind the router that its user has."""

    def __init__(self, cloud: MemoryCloud | None = None, **options: Any) -> None:
        super().__init__(cloud, **({"connect_share_server_to_tenant_network": False} | options))
        self.router = self.cloud.add_router(self.network.subnets[0].id)

    def subnets(self) -> list[str]:
        """Ranges of the service subnets."""
        return [subnet.cidr for subnet in self.cloud.networks.list_subnets()]


def rule(to: str, level: str = "rw", access_type: str = "ip") -> Row:
    """An access rule whose id is what it says."""
    return {
        "id": f"{access_type} {to} {level}",
        "access_type": access_type,
        "access_to": to,
        "access_level": level,
    }
