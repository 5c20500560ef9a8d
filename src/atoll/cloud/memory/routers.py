"""Atoll's own subnets in the simulated cloud, and the users' routers that they are plugged into."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from uuid import uuid4

from atoll.cloud.base import OwnedSubnet, Subnet
from atoll.cloud.memory.gate import Gate, call
from atoll.errors import AtollError, CloudError, CloudNotFound, CloudUnavailable

Block = IPv4Network | IPv6Network


class MemoryRouters:
    """The part of ``Networks`` that connects Atoll's subnets to a user's."""

    port = "networks"
    unanswered: type[AtollError] = CloudUnavailable

    def __init__(self, gate: Gate, deployment: str) -> None:
        self.gate = gate
        self._world = gate.world
        self._deployment = deployment

    def subject(self) -> str:
        """Return an empty string, because the arguments of each call name what it is about."""
        return ""

    @call
    def create_subnet(self, owner: str, network_id: str, cidr: str, *, gateway: bool) -> Subnet:
        """Add a range to a network, or find what ``owner`` has there."""
        made = self._subnets(
            "deployment = ? AND owner = ? AND network_id = ?", self._deployment, owner, network_id
        )
        if made:
            return made[0]
        if not self._world.row("SELECT 1 FROM networks WHERE id = ?", network_id):
            raise CloudNotFound(f"There is no network {network_id}.")
        block = self._checked(network_id, cidr)
        subnet_id = self._add_subnet(network_id, owner, block, gateway=gateway)
        return self._subnets("id = ?", subnet_id)[0]

    def _checked(self, network_id: str, cidr: str) -> Block:
        try:
            block = ip_network(cidr)
        except ValueError as error:
            raise CloudError(f"{cidr!r} is not the address range of a subnet.") from error
        for (other,) in self._world.rows(
            "SELECT cidr FROM subnets WHERE network_id = ?", network_id
        ):
            if block.overlaps(ip_network(other)):
                raise CloudError(f"The range {cidr} overlaps with {other} in this network.")
        return block

    def _add_subnet(
        self, network_id: str, owner: str | None, block: Block, *, gateway: bool
    ) -> str:
        subnet_id = str(uuid4())
        self._world.execute(
            "INSERT INTO subnets (id, network_id, deployment, owner, cidr, gateway)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            subnet_id,
            network_id,
            self._deployment,
            owner,
            str(block),
            str(block[1]) if gateway else None,
        )
        return subnet_id

    @call
    def list_subnets(self) -> list[OwnedSubnet]:
        """All that ``create_subnet`` made for this deployment."""
        rows = self._world.rows(
            "SELECT id, owner, network_id, cidr, router_id"
            " FROM subnets LEFT JOIN router_interfaces ON subnet_id = id"
            " WHERE subnets.deployment = ? AND owner IS NOT NULL",
            self._deployment,
        )
        return [OwnedSubnet(*row) for row in rows]

    def _subnets(self, where: str, *values: str) -> list[Subnet]:
        rows = self._world.rows(
            "SELECT id, network_id, cidr, gateway FROM subnets"  # noqa: S608
            f" WHERE {where} ORDER BY number",
            *values,
        )
        return [
            Subnet(subnet_id, network_id, cidr, gateway, 6 if ":" in cidr else 4)
            for subnet_id, network_id, cidr, gateway in rows
        ]

    @call
    def delete_subnet(self, subnet_id: str) -> None:
        """Remove what ``create_subnet`` made for this deployment. Any other is left alone."""
        if not self._subnets(
            "id = ? AND deployment = ? AND owner IS NOT NULL", subnet_id, self._deployment
        ):
            return
        if self._world.row("SELECT 1 FROM ports WHERE subnet_id = ?", subnet_id):
            raise CloudError(f"Subnet {subnet_id} still has ports.")
        if self._world.row("SELECT 1 FROM router_interfaces WHERE subnet_id = ?", subnet_id):
            raise CloudError(f"Subnet {subnet_id} is still plugged into a router.")
        self._world.execute("DELETE FROM subnets WHERE id = ?", subnet_id)

    @call
    def gateway_router(self, subnet_id: str) -> str:
        """Id of the router that is the gateway of a user's subnet."""
        return self._gateway_router(subnet_id)

    def _gateway_router(self, subnet_id: str) -> str:
        gateway = self._world.row("SELECT gateway FROM subnets WHERE id = ?", subnet_id)
        if gateway is None:
            raise CloudNotFound(f"There is no subnet {subnet_id}.")
        router = self._router_of(subnet_id)
        if gateway[0] is None or router is None:
            what = "gateway" if gateway[0] is None else "router as its gateway"
            raise CloudNotFound(
                f"The subnet {subnet_id} has no {what}.",
                hint="Give the subnet a gateway and plug it into a router.",
            )
        return router

    @call
    def connect_router(self, subnet_id: str, to_subnet_id: str) -> str:
        """Plug Atoll's subnet into the other one's gateway router, and return the router's id."""
        router = self._gateway_router(to_subnet_id)
        if self._router_of(subnet_id) not in (None, router):
            raise CloudError(f"Subnet {subnet_id} is plugged into another router.")
        self._world.execute(
            "INSERT OR IGNORE INTO router_interfaces VALUES (?, ?, ?)",
            subnet_id,
            router,
            self._deployment,
        )
        return router

    @call
    def disconnect_router(self, router_id: str, subnet_id: str) -> None:
        """Unplug Atoll's subnet. What Atoll didn't plug in is left alone."""
        self._world.execute(
            "DELETE FROM router_interfaces"
            " WHERE router_id = ? AND subnet_id = ? AND deployment = ?",
            router_id,
            subnet_id,
            self._deployment,
        )

    def _router_of(self, subnet_id: str) -> str | None:
        row = self._world.row(
            "SELECT router_id FROM router_interfaces WHERE subnet_id = ?", subnet_id
        )
        return str(row[0]) if row else None
