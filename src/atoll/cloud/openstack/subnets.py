"""Subnets in Neutron: those that came with their network, and those that Atoll adds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from atoll.cloud.base import Subnet
from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.neutron import Neutron
from atoll.cloud.sole import sole
from atoll.errors import CloudError, CloudUnavailable, OutOfCapacity
from atoll.model.keys import name_of
from atoll.ranges import Block, first_free, overlaps

OF_NETWORK = "network"
"""Owner of a subnet that is made and removed together with its network."""
DRAFT = "atoll-draft"
"""Name of a subnet that the worker that made it may still remove."""
HOST = "atoll:host"
"""``device_owner`` of the port that a worker's host has in the service network."""


def parsed(cidr: str) -> Block:
    """The range that the text names. Raises ``CloudError`` if it names none."""
    try:
        return ip_network(cidr)
    except ValueError as error:
        raise CloudError(f"{cidr!r} is not the address range of a network.") from error


def free_range(pool: str, prefix: int, taken: Iterable[str]) -> Block:
    """The first part of that prefix length that overlaps with none. Raises ``OutOfCapacity``."""
    block = first_free(parsed(pool), prefix, map(parsed, taken))
    if block is None:
        raise OutOfCapacity(
            f"No range with the prefix length {prefix} is free in {pool}.",
            hint="Choose a larger range, or remove networks that are not needed any more.",
        )
    return block


class Subnets:
    """The deployment's subnets."""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron
        self._subnets = neutron.subnets

    def provide(self, owner: str, network_id: str, block: Block, *, gateway: bool) -> Json:
        """The owner's subnet in that network, made if need be.

        Neutron refuses a range that overlaps with another one, except when both are requested at
        the same moment. Therefore a worker that has made a subnet looks again, and removes it if
        its range is not its own alone. Until then the subnet's name says that it is a draft, which
        other workers don't use unless the one that made it seems to have died.
        """
        return sole(
            lambda: self._subnets.of(owner, network_id=network_id),
            _finished,
            lambda: self._confirmed(self._draft(owner, network_id, block, gateway)),
            self._confirmed,
        )

    def _draft(self, owner: str, network_id: str, block: Block, gateway: bool) -> Json:
        wish = _wish(block, gateway)
        try:
            return self._subnets.create(owner, name=DRAFT, network_id=network_id, **wish)
        except CloudError as error:
            # Another worker may have made the owner's subnet meanwhile: then it has the range.
            if error.retryable or not self._subnets.of(owner, network_id=network_id):
                raise
            raise CloudUnavailable(error.message, hint=error.hint) from error

    def _confirmed(self, made: Json) -> Json:
        """Give the draft its real name, or remove it if another subnet overlaps with its range."""
        block = parsed(made["cidr"])
        seen = self._subnets.find(network_id=made["network_id"])
        if overlaps(block, (parsed(each["cidr"]) for each in seen if each["id"] != made["id"])):
            self._subnets.delete(made["id"])
            raise CloudUnavailable(
                f"The range {block} was given to another subnet at the same moment."
            )
        return self._subnets.update(made["id"], name=name_of(self._neutron.owner_of(made) or ""))

    def in_network(self, network_id: str) -> list[Json]:
        """All subnets of a network: those that came with it first, IPv4 before IPv6."""
        return sorted(self._subnets.find(network_id=network_id), key=self._rank)

    def ours(self) -> list[Json]:
        """All subnets of this deployment, in the same order."""
        return sorted(self._subnets.ours(), key=self._rank)

    def _rank(self, subnet: Json) -> tuple[bool, int, str]:
        return (self.is_extra(subnet), subnet["ip_version"], subnet["id"])

    def is_extra(self, subnet: Json) -> bool:
        """Whether ``create_subnet`` of this deployment made it."""
        return self._neutron.owner_of(subnet) not in (None, OF_NETWORK)

    def delete(self, subnet_id: str) -> None:
        """Remove a subnet that ``create_subnet`` made. Raises ``CloudError`` while it has ports."""
        subnet = self._subnets.get(subnet_id)
        if subnet is None or not self.is_extra(subnet):
            return
        ports = self._neutron.ports
        hosts = []
        for port in ports.find(fixed_ips=f"subnet_id={subnet_id}"):
            if port["device_owner"] == HOST and self._neutron.owner_of(port) is not None:
                hosts.append(port)
            elif port["device_owner"] != "network:dhcp":
                raise CloudError(f"Subnet {subnet_id} still has the port {port['id']}.")
        for port in hosts:
            left = [each for each in port["fixed_ips"] if each["subnet_id"] != subnet_id]
            ports.update(port["id"], fixed_ips=left)
        self._subnets.delete(subnet_id)


def _finished(found: Sequence[Json]) -> Json | None:
    return next((subnet for subnet in found if subnet["name"] != DRAFT), None)


def _wish(block: Block, gateway: bool) -> Json:
    wish: Json = {"cidr": str(block), "ip_version": block.version, "enable_dhcp": True}
    if not gateway:
        wish["gateway_ip"] = None
    if block.version == 6:
        mode = "slaac" if block.prefixlen == 64 else "dhcpv6-stateful"
        wish |= {"ipv6_address_mode": mode, "ipv6_ra_mode": mode}
    return wish


def subnet_of(found: Json) -> Subnet:
    """What Neutron says of a subnet, as a ``Subnet``."""
    return Subnet(
        found["id"],
        found["network_id"],
        found["cidr"],
        found["gateway_ip"],
        6 if found["ip_version"] == 6 else 4,
    )
