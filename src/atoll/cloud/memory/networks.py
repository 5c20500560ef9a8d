"""Networks and ports of the simulated cloud, whose addresses outlive instances.

Atoll's own subnets, and the routers that they are plugged into, are in ``routers.py``.
"""

from __future__ import annotations

from ipaddress import ip_network
from uuid import uuid4

from atoll.cloud.base import Network, Port, Subnet
from atoll.cloud.memory.gate import call
from atoll.cloud.memory.routers import MemoryRouters
from atoll.cloud.memory.world import Row
from atoll.errors import CloudError, CloudNotFound, OutOfCapacity
from atoll.model.keys import SERVICE_NETWORK

_FIRST_ADDRESS = 10  # lower ones are for the gateway and other services of a site
_PORT = "SELECT id, owner, network_id, mac, address, instance_id FROM ports"


class MemoryNetworks(MemoryRouters):
    """Implements ``Networks``. A new network has one subnet."""

    @call
    def service_network(self) -> Network:
        """The management network, which is made if it is missing."""
        return self._make(SERVICE_NETWORK, "", "100.{}.0.0/16", first=64, count=64)

    @call
    def create_network(self, owner: str, cidr: str = "") -> Network:
        """Make an isolated network; an empty ``cidr`` means the next free one."""
        return self._make(owner, cidr, "10.{}.{}.0/24", first=0, count=1 << 16)

    def _make(self, owner: str, cidr: str, pattern: str, *, first: int, count: int) -> Network:
        made = self._find("deployment = ? AND owner = ?", self._deployment, owner)
        if made:
            return made[0]
        kind = "owner = ?" if owner == SERVICE_NETWORK else "owner <> ?"
        (number,) = self._world.row(
            f"SELECT coalesce(max(block) + 1, ?) FROM networks WHERE {kind}",  # noqa: S608
            first,
            SERVICE_NETWORK,
        ) or (first,)
        if number >= first + count:
            raise OutOfCapacity("The simulated cloud has no address range left.")
        try:
            subnet = ip_network(
                cidr or pattern.format(*divmod(number, 256) if first == 0 else (number,))
            )
        except ValueError as error:
            raise CloudError(f"{cidr!r} is not the address range of a network.") from error
        network_id = str(uuid4())
        self._world.execute(
            "INSERT INTO networks (id, deployment, owner, block) VALUES (?, ?, ?, ?)",
            network_id,
            self._deployment,
            owner,
            number,
        )
        self._add_subnet(network_id, None, subnet, gateway=True)
        return self._find("id = ?", network_id)[0]

    @call
    def get_network(self, network_id: str, subnet_id: str = "") -> Network | None:
        """A network by id, also another deployment's; None when absent (or lacks that subnet)."""
        found = self._find("id = ?", network_id)
        if not found or (subnet_id and subnet_id not in [s.id for s in found[0].subnets]):
            return None
        return found[0]

    @call
    def may_use(self, network_id: str, project_id: str) -> bool:
        """Whether the project may use it.

        A network of the owner ``project/<id>`` is for that project.
        """
        found = self._find("id = ?", network_id)
        if not found or found[0].owner == SERVICE_NETWORK:
            return False
        kind, _, whose = found[0].owner.partition("/")
        return kind == "user" or (kind == "project" and whose == project_id)

    @call
    def list_networks(self) -> list[Network]:
        """All networks of this deployment, the service network included."""
        return self._find("deployment = ?", self._deployment)

    def _find(self, where: str, *values: str) -> list[Network]:
        rows = self._world.rows(
            f"SELECT id, owner FROM networks WHERE {where} ORDER BY number",  # noqa: S608
            *values,
        )
        subnets: dict[str, list[Subnet]] = {network_id: [] for network_id, _ in rows}
        for subnet in self._subnets(
            f"network_id IN (SELECT id FROM networks WHERE {where})",  # noqa: S608
            *values,
        ):
            subnets[subnet.network_id].append(subnet)
        return [
            Network(network_id, owner, owner, tuple(subnets[network_id]))
            for network_id, owner in rows
        ]

    @call
    def delete_network(self, network_id: str) -> None:
        """Remove a network of this deployment. Any other is left alone."""
        if not self._find("id = ? AND deployment = ?", network_id, self._deployment):
            return
        if self._world.row("SELECT 1 FROM ports WHERE network_id = ?", network_id):
            raise CloudError(f"Network {network_id} still has ports.")
        if self._world.row(
            "SELECT 1 FROM subnets JOIN router_interfaces ON subnet_id = id WHERE network_id = ?",
            network_id,
        ):
            raise CloudError(f"Network {network_id} is still plugged into a router.")
        self._world.execute("DELETE FROM networks WHERE id = ?", network_id)
        self._world.execute("DELETE FROM subnets WHERE network_id = ?", network_id)

    @call
    def create_port(self, owner: str, network_id: str, subnet_id: str = "") -> Port:
        """Reserve a MAC and an address. An owner has one port in each subnet."""
        subnet = self._world.row(
            "SELECT id, cidr FROM subnets WHERE network_id = ? AND id = coalesce(?, id)"
            " ORDER BY number",
            network_id,
            subnet_id or None,
        )
        if subnet is None:
            raise CloudNotFound(f"There is no network {network_id} with subnet {subnet_id!r}.")
        made = self._world.row(
            f"{_PORT} WHERE deployment = ? AND owner = ? AND subnet_id = ?",
            self._deployment,
            owner,
            subnet[0],
        )
        if made:
            return _port(made)
        number, address = self._free_address(*subnet)
        port_id = uuid4()
        mac = ":".join(("52:54:00", *(f"{octet:02x}" for octet in port_id.bytes[:3])))
        row = (str(port_id), owner, network_id, mac, address, None)
        self._world.execute(
            "INSERT INTO ports (id, owner, network_id, mac, address, instance_id, deployment,"
            " number, subnet_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *row,
            self._deployment,
            number,
            subnet[0],
        )
        return _port(row)

    def _free_address(self, subnet_id: str, cidr: str) -> tuple[int, str]:
        subnet = ip_network(cidr)
        end = subnet.num_addresses - 1
        first = min(_FIRST_ADDRESS, max(2, end // 2))
        (number,) = self._world.row(
            "SELECT coalesce(max(number) + 1, ?) FROM ports WHERE subnet_id = ?",
            first,
            subnet_id,
        ) or (first,)
        if number >= end:
            number = self._gap(subnet_id, first)
        if not 0 < number < end:
            raise OutOfCapacity(f"Subnet {subnet_id} has no address left.")
        return number, str(subnet[number])

    def _gap(self, subnet_id: str, first: int) -> int:
        """The lowest number of a port that was deleted."""
        (number,) = self._world.row(
            "SELECT n FROM (SELECT ? AS n UNION ALL"
            " SELECT number + 1 FROM ports WHERE subnet_id = ?)"
            " WHERE NOT EXISTS (SELECT 1 FROM ports WHERE subnet_id = ? AND number = n) LIMIT 1",
            first,
            subnet_id,
            subnet_id,
        ) or (0,)
        return int(number)

    @call
    def get_port(self, port_id: str) -> Port | None:
        """The port, or None when it is gone."""
        row = self._world.row(f"{_PORT} WHERE id = ?", port_id)
        return _port(row) if row else None

    @call
    def ports_of_instance(self, instance_id: str) -> list[Port]:
        """All ports of an instance, also of another deployment's."""
        rows = self._world.rows(f"{_PORT} WHERE instance_id = ? ORDER BY position", instance_id)
        return [_port(row) for row in rows]

    @call
    def list_ports(self) -> list[Port]:
        """All ports of this deployment."""
        rows = self._world.rows(f"{_PORT} WHERE deployment = ?", self._deployment)
        return [_port(row) for row in rows]

    @call
    def delete_port(self, port_id: str) -> None:
        """Remove a port, so that its address is free."""
        self._world.execute("DELETE FROM ports WHERE id = ?", port_id)


def _port(row: Row) -> Port:
    port_id, owner, network_id, mac, address, instance_id = row
    return Port(port_id, owner, network_id, mac, (address,), instance_id)
