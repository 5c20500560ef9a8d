"""Networks: bridges with DHCP in libvirt, and ports, which keep a MAC and an address.

Each network is a libvirt network without forwarding: a bridge, the host's address on it, a dnsmasq
that answers only DHCP. A port is one of the fixed entries in its DHCP table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from uuid import NAMESPACE_OID, uuid4, uuid5

import structlog

from atoll.cloud.base import Network, OwnedSubnet, Port, Subnet
from atoll.cloud.local import firewall
from atoll.cloud.local.bridge import Bridge, Bridges, Lease, bridge_name
from atoll.cloud.local.domain import Nic
from atoll.cloud.local.records import Records, locked
from atoll.errors import CloudError, CloudNotFound, CloudUnavailable, OutOfCapacity
from atoll.model.keys import SERVICE_NETWORK
from atoll.ranges import first_free, overlaps

log = structlog.get_logger(__name__)

SMALLEST = 29
"""Prefix length of the smallest network."""
CHOICES = 5
"""Ranges that are chosen for a network, one after the other, while other programs take them."""
_DIRECTLY = "Set connect_share_server_to_tenant_network to true."


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """The record of a network."""

    id: str
    owner: str
    """The owner is empty for a network that Atoll did not make."""
    cidr: str
    device: str
    """The network's bridge."""
    is_new: bool = False
    """Whether it has not been up yet, so that nobody knows its range."""

    @property
    def is_service(self) -> bool:
        """Whether this is the service network."""
        return self.owner == SERVICE_NETWORK

    @property
    def bridge(self) -> Bridge:
        """What libvirt makes of it."""
        return Bridge(self.id, IPv4Network(self.cidr), self.device)


@dataclass(frozen=True, slots=True)
class PortRecord:
    """A port."""

    id: str
    owner: str
    network_id: str
    mac: str
    address: str
    instance_id: str = ""


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """The ranges that networks are made in."""

    service_cidr: str
    share_pool: str
    share_prefix: int


class LocalNetworks:
    """Implements ``Networks``."""

    def __init__(
        self, directory: Path, bridges: Bridges, deployment: str, plan: AddressPlan
    ) -> None:
        self.records = Records(directory / "networks", NetworkRecord)
        self.port_records = Records(directory / "ports", PortRecord)
        self._bridges = bridges
        self._deployment = deployment
        self._plan = plan
        # libvirt restores its networks after a reboot of the host, but not Atoll's rules.
        self._rules_written = False

    def service_network(self) -> Network:
        """The management network between Atoll and its instances; made when missing."""
        first = IPv4Network(self._plan.service_cidr)
        # Another deployment on this machine may have the usual range already.
        around = first.supernet(new_prefix=max(first.prefixlen - 8, 8))
        return self._find_or_create(SERVICE_NETWORK, [first, around], first.prefixlen)

    def create_network(self, owner: str, cidr: str = "") -> Network:
        """Make an isolated network with DHCP; an empty ``cidr`` means the next free one."""
        if not cidr:
            pool = IPv4Network(self._plan.share_pool)
            prefix = max(self._plan.share_prefix, pool.prefixlen)
            return self._find_or_create(owner, [pool], prefix)
        try:
            block = IPv4Network(cidr)
        except ValueError as error:
            raise CloudError(f"{cidr!r} is not the address range of an IPv4 network.") from error
        if block.prefixlen > SMALLEST:
            raise CloudError(f"{cidr} is too small: at least 8 addresses are needed.")
        return self._find_or_create(owner, [block], block.prefixlen)

    def _find_or_create(self, owner: str, pools: Iterable[IPv4Network], prefix: int) -> Network:
        def new() -> NetworkRecord:
            taken = [*self._bridges.taken(), *(r.bridge.cidr for r in self.records.list())]
            for pool in pools:
                block = first_free(pool, prefix, taken)
                if block is not None:
                    network_id = str(uuid4())
                    device = bridge_name(self._deployment, network_id)
                    return NetworkRecord(network_id, owner, str(block), device, is_new=True)
            raise OutOfCapacity("There is no free address range for another network.")

        for _ in range(CHOICES):
            record = self.records.find_or_create(lambda record: record.owner == owner, new)
            try:
                self.ensure(record)
            except CloudError as error:
                if not self._gives_up(record):
                    raise
                log.warning("network.range_given_up", range=record.cidr, error=str(error))
            else:
                if record.is_new:
                    with self.records.locked(record.id) as made:
                        self.records.put(replace(made, is_new=False))
                return _network(record)
        raise CloudUnavailable("Other programs take the address ranges that networks are made in.")

    def _gives_up(self, record: NetworkRecord) -> bool:
        """Remove a network that could not be made because its range has been taken meanwhile.

        Another deployment on this machine may choose the same range in the same moment. A network
        that was up keeps its range, because it is known to users.
        """
        with locked(self.records.directory):
            if not record.is_new or self._bridges.active(record.bridge):
                return False
            if not overlaps(record.bridge.cidr, self._bridges.taken()):
                return False
            self._bridges.remove(record.bridge)
            self.records.delete(record.id)
            return True

    def ensure(self, record: NetworkRecord) -> None:
        """Restore the bridge, its DHCP entries and the rules, if they are missing."""
        if not record.owner or (self._rules_written and self._bridges.active(record.bridge)):
            return
        with locked(self.records.directory):
            self._bridges.ensure(record.bridge)
            self.apply_firewall()

    def apply_firewall(self) -> None:
        """Write the rules for all networks. Only one caller at a time may do this."""
        records = self.records.list()
        firewall.apply(
            self._deployment,
            [r.bridge.name for r in records if not r.is_service],
            [r.bridge.name for r in records if r.is_service],
        )
        self._rules_written = True

    def get_network(self, network_id: str, subnet_id: str = "") -> Network | None:
        """Any network of libvirt, by id; None if it or the subnet in it does not exist."""
        record = self._record(network_id)
        if record is None or subnet_id not in ("", _subnet_id(network_id)):
            return None
        return _network(record)

    def _record(self, network_id: str) -> NetworkRecord | None:
        ours = self.records.get(network_id)
        if ours is not None:
            return ours
        theirs = self._bridges.foreign(network_id)
        if theirs is None:
            return None
        return NetworkRecord(network_id, "", str(theirs.cidr), theirs.name)

    def may_use(self, network_id: str, project_id: str) -> bool:
        """Whether all projects may use it: a network of libvirt that Atoll did not make."""
        return self._bridges.is_users(network_id) and (
            self._bridges.foreign(network_id) is not None
        )

    def list_networks(self) -> list[Network]:
        """All networks of this deployment, the service network included."""
        return [_network(record) for record in self.records.list()]

    def delete_network(self, network_id: str) -> None:
        """Remove a network of this deployment. Any other is left alone."""
        try:
            with self.records.locked(network_id) as record:
                if any(port.network_id == network_id for port in self.port_records.list()):
                    raise CloudError(f"Network {network_id} still has ports.")
                self._bridges.remove(record.bridge)
                self.records.delete(network_id)
        except CloudNotFound:
            return
        with locked(self.records.directory):
            self.apply_firewall()

    def create_subnet(self, owner: str, network_id: str, cidr: str, *, gateway: bool) -> Subnet:
        """Raise ``CloudError``, because a network here has the one subnet that it was made with."""
        raise CloudError(
            "On this machine a network has one subnet; another can't be added.", hint=_DIRECTLY
        )

    def delete_subnet(self, subnet_id: str) -> None:
        """Do nothing, because a subnet is removed with its network."""

    def list_subnets(self) -> list[OwnedSubnet]:
        """Return an empty list, because subnets are never added here."""
        return []

    def gateway_router(self, subnet_id: str) -> str:
        """Raise ``CloudError``, because networks of this machine have no routers."""
        raise CloudError(
            "This machine has no routers that a subnet could be connected to.", hint=_DIRECTLY
        )

    def connect_router(self, subnet_id: str, to_subnet_id: str) -> str:
        """Raise ``CloudError``, as ``gateway_router`` does."""
        return self.gateway_router(to_subnet_id)

    def disconnect_router(self, router_id: str, subnet_id: str) -> None:
        """Do nothing, because there are no routers."""

    def create_port(self, owner: str, network_id: str, subnet_id: str = "") -> Port:
        """Reserve a MAC and an address. An owner has one port in each network."""
        network = self._record(network_id)
        if network is None or subnet_id not in ("", _subnet_id(network_id)):
            raise CloudNotFound(f"There is no network {network_id} with subnet {subnet_id!r}.")
        self.ensure(network)

        def new() -> PortRecord:
            lease = self._free_lease(network)
            return PortRecord(str(uuid4()), owner, network_id, lease.mac, lease.address)

        record = self.port_records.find_or_create(
            lambda record: (record.owner, record.network_id) == (owner, network_id), new
        )
        if not network.owner:
            self._bridges.add_lease(network.bridge, Lease(record.mac, record.address))
        return _port(record)

    def get_port(self, port_id: str) -> Port | None:
        """The port, or None when it is gone."""
        record = self.port_records.get(port_id)
        return _port(record) if record else None

    def ports_of_instance(self, instance_id: str) -> list[Port]:
        """All ports of an instance of this deployment."""
        return [_port(each) for each in self.port_records.list() if each.instance_id == instance_id]

    def list_ports(self) -> list[Port]:
        """All ports of this deployment."""
        return [_port(record) for record in self.port_records.list()]

    def delete_port(self, port_id: str) -> None:
        """Remove a port, so that its address is free."""
        record = self.port_records.get(port_id)
        if record is None:
            return
        network = self._record(record.network_id)
        if network is not None and not network.owner:
            self._bridges.remove_lease(network.bridge, Lease(record.mac, record.address))
        self.port_records.delete(port_id)

    def expect_ports(self, port_ids: Iterable[str]) -> None:
        """Raise ``CloudNotFound``, or ``CloudError`` if another instance has one."""
        for port_id in port_ids:
            self._check_free(self.port_records.expect(port_id), "")

    def plug(self, port_id: str, instance_id: str) -> Nic:
        """Give a port to an instance. Its network exists when this returns."""
        with self.port_records.locked(port_id) as record:
            self._check_free(record, instance_id)
            self.port_records.put(replace(record, instance_id=instance_id))
        network = self._record(record.network_id)
        if network is None:
            raise CloudNotFound(f"There is no network {record.network_id}.")
        self.ensure(network)
        return Nic(record.mac, network.bridge.name, isolated=network.is_service)

    def unplug(self, port_id: str, instance_id: str) -> None:
        """Take a port from this instance. Another instance's port is left alone."""
        try:
            with self.port_records.locked(port_id) as record:
                if record.instance_id == instance_id:
                    self.port_records.put(replace(record, instance_id=""))
        except CloudNotFound:
            return

    @staticmethod
    def _check_free(record: PortRecord, instance_id: str) -> None:
        if record.instance_id not in ("", instance_id):
            raise CloudError(f"Port {record.id} is used by instance {record.instance_id}.")

    def _free_lease(self, network: NetworkRecord) -> Lease:
        ports = self.port_records.list()
        taken = {port.address for port in ports if port.network_id == network.id}
        if not network.owner:  # others have addresses there, too
            taken |= self._bridges.leased(network.bridge)
        for lease in network.bridge.leases():
            if lease.address not in taken:
                return lease
        raise OutOfCapacity(f"Network {network.id} has no address left.")


def _subnet_id(network_id: str) -> str:
    return str(uuid5(NAMESPACE_OID, network_id))


def _network(record: NetworkRecord) -> Network:
    subnet = Subnet(_subnet_id(record.id), record.id, record.cidr)
    return Network(record.id, record.owner, record.owner, (subnet,), device=record.bridge.name)


def _port(record: PortRecord) -> Port:
    return Port(
        record.id,
        record.owner,
        record.network_id,
        record.mac,
        (record.address,),
        record.instance_id or None,
    )
