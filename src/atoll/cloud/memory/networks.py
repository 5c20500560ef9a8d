"""Networks and ports of the simulated cloud: addresses that outlive instances."""

from __future__ import annotations

from ipaddress import ip_network
from uuid import uuid4

from atoll.cloud.base import Network, Port, Subnet
from atoll.cloud.memory.gate import Gate, call
from atoll.cloud.memory.world import Row
from atoll.errors import AtollError, CloudError, CloudNotFound, CloudUnavailable, OutOfCapacity

SERVICE_OWNER = "service-network"
_FIRST_ADDRESS = 10  # below it: the gateway, and what a site's own services like to have
_NETWORK = "SELECT id, owner, cidr, subnet_id, gateway FROM networks"
_PORT = "SELECT id, owner, network_id, mac, address, instance_id FROM ports"


class MemoryNetworks:
    """Implements ``Networks``. Each network has one subnet."""

    room = "networks"
    unanswered: type[AtollError] = CloudUnavailable

    def __init__(self, gate: Gate, deployment: str) -> None:
        self.gate = gate
        self._world = gate.world
        self._deployment = deployment

    def subject(self) -> str:
        """Nothing: the arguments say it."""
        return ""

    @call
    def service_network(self) -> Network:
        """The management network; made when missing."""
        return self._make(SERVICE_OWNER, "", "100.{}.0.0/16", first=64, count=64)

    @call
    def create_network(self, owner: str, cidr: str = "") -> Network:
        """Make an isolated network; an empty ``cidr`` means the next free one."""
        return self._make(owner, cidr, "10.{}.{}.0/24", first=0, count=1 << 16)

    def _make(self, owner: str, cidr: str, pattern: str, *, first: int, count: int) -> Network:
        made = self._world.row(
            f"{_NETWORK} WHERE deployment = ? AND owner = ?", self._deployment, owner
        )
        if made:
            return _network(made)
        kind = "owner = ?" if owner == SERVICE_OWNER else "owner <> ?"
        (number,) = self._world.row(
            f"SELECT coalesce(max(number) + 1, ?) FROM networks WHERE {kind}",  # noqa: S608
            first,
            SERVICE_OWNER,
        ) or (first,)
        if number >= first + count:
            raise OutOfCapacity("The simulated cloud has no address range left.")
        try:
            subnet = ip_network(
                cidr or pattern.format(*divmod(number, 256) if first == 0 else (number,))
            )
        except ValueError as error:
            raise CloudError(f"{cidr!r} is no network's address range.") from error
        row = (str(uuid4()), owner, str(subnet), str(uuid4()), str(subnet[1]))
        self._world.execute(
            "INSERT INTO networks (id, owner, cidr, subnet_id, gateway, deployment, number)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *row,
            self._deployment,
            number,
        )
        return _network(row)

    @call
    def get_network(self, network_id: str, subnet_id: str = "") -> Network | None:
        """A network by id, also another deployment's; None when absent (or lacks that subnet)."""
        row = self._world.row(f"{_NETWORK} WHERE id = ?", network_id)
        if row is None or subnet_id not in ("", row[3]):
            return None
        return _network(row)

    @call
    def list_networks(self) -> list[Network]:
        """All networks of this deployment, the service network included."""
        rows = self._world.rows(f"{_NETWORK} WHERE deployment = ?", self._deployment)
        return [_network(row) for row in rows]

    @call
    def delete_network(self, network_id: str) -> None:
        """Remove a network of this deployment; one that isn't ours is left alone."""
        if self._world.row("SELECT 1 FROM ports WHERE network_id = ?", network_id):
            raise CloudError(f"Network {network_id} still has ports.")
        self._world.execute(
            "DELETE FROM networks WHERE id = ? AND deployment = ?", network_id, self._deployment
        )

    @call
    def create_port(self, owner: str, network_id: str, subnet_id: str = "") -> Port:
        """Reserve a MAC and an address; one port an owner in each network."""
        made = self._world.row(
            f"{_PORT} WHERE deployment = ? AND owner = ? AND network_id = ?",
            self._deployment,
            owner,
            network_id,
        )
        if made:
            return _port(made)
        network = self._world.row("SELECT cidr, subnet_id FROM networks WHERE id = ?", network_id)
        if network is None or subnet_id not in ("", network[1]):
            raise CloudNotFound(f"There is no network {network_id} with subnet {subnet_id!r}.")
        number, address = self._free_address(network_id, network[0])
        port_id = uuid4()
        mac = ":".join(("52:54:00", *(f"{octet:02x}" for octet in port_id.bytes[:3])))
        row = (str(port_id), owner, network_id, mac, address, None)
        self._world.execute(
            "INSERT INTO ports (id, owner, network_id, mac, address, instance_id, deployment,"
            " number) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *row,
            self._deployment,
            number,
        )
        return _port(row)

    def _free_address(self, network_id: str, cidr: str) -> tuple[int, str]:
        subnet = ip_network(cidr)
        end = subnet.num_addresses - 1
        first = min(_FIRST_ADDRESS, max(2, end // 2))
        (number,) = self._world.row(
            "SELECT coalesce(max(number) + 1, ?) FROM ports WHERE network_id = ?",
            first,
            network_id,
        ) or (first,)
        if number >= end:
            number = self._gap(network_id, first)
        if not 0 < number < end:
            raise OutOfCapacity(f"Network {network_id} has no address left.")
        return number, str(subnet[number])

    def _gap(self, network_id: str, first: int) -> int:
        """The lowest number that an earlier port gave back."""
        (number,) = self._world.row(
            "SELECT n FROM (SELECT ? AS n UNION ALL"
            " SELECT number + 1 FROM ports WHERE network_id = ?)"
            " WHERE NOT EXISTS (SELECT 1 FROM ports WHERE network_id = ? AND number = n) LIMIT 1",
            first,
            network_id,
            network_id,
        ) or (0,)
        return int(number)

    @call
    def get_port(self, port_id: str) -> Port | None:
        """The port, or None when it is gone."""
        row = self._world.row(f"{_PORT} WHERE id = ?", port_id)
        return _port(row) if row else None

    @call
    def list_ports(self) -> list[Port]:
        """All ports of this deployment."""
        rows = self._world.rows(f"{_PORT} WHERE deployment = ?", self._deployment)
        return [_port(row) for row in rows]

    @call
    def delete_port(self, port_id: str) -> None:
        """Give the address back."""
        self._world.execute("DELETE FROM ports WHERE id = ?", port_id)


def _network(row: Row) -> Network:
    network_id, owner, cidr, subnet_id, gateway = row
    subnet = Subnet(subnet_id, network_id, cidr, gateway, 6 if ":" in cidr else 4)
    return Network(network_id, owner, owner, (subnet,))


def _port(row: Row) -> Port:
    port_id, owner, network_id, mac, address, instance_id = row
    return Port(port_id, owner, network_id, mac, (address,), instance_id)
