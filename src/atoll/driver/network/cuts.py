"""Service subnets: equal pieces of one address range, one for each share server that needs one.

A subnet that exists keeps its range, whatever the options say later: only new ones are cut by them.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from atoll.cloud.base import Network, Networks, Subnet
from atoll.errors import CloudError, ConfigurationError, OutOfCapacity

Block = IPv4Network | IPv6Network

TRIES = 3
"""So often a range is asked for that was refused though nobody has it."""

LEAST_BITS = 3
"""A subnet needs addresses for its gateway, its DHCP server and the instance: 8 at least."""


def pool(cidr: str, division_mask: int) -> Block:
    """The range to cut from. Raises ``ConfigurationError`` where pieces of that size don't fit."""
    try:
        block = ip_network(cidr)
    except ValueError as error:
        raise ConfigurationError(
            f"service_network_cidr is no address range: {error}.",
            hint="Write it like 10.254.0.0/16.",
        ) from error
    if not block.prefixlen <= division_mask <= block.max_prefixlen - LEAST_BITS:
        raise ConfigurationError(
            f"{cidr} can't be cut into subnets with service_network_division_mask {division_mask}.",
            hint=f"Choose from {block.prefixlen} to {block.max_prefixlen - LEAST_BITS}.",
        )
    return block


def first_free(block: Block, division_mask: int, taken: Iterable[str]) -> str | None:
    """The lowest piece of ``block`` that overlaps with no range of ``taken``; None if none is."""
    size = 1 << (block.max_prefixlen - division_mask)
    others = [other for other in map(ip_network, taken) if other.version == block.version]
    start = int(block.network_address)
    for other in sorted(others, key=lambda other: int(other.network_address)):
        if int(other.network_address) >= start + size:
            break
        # Up to the next piece that begins after this range; ranges that end before change nothing.
        start = max(start, -(-(int(other.broadcast_address) + 1) // size) * size)
    if start > int(block.broadcast_address):
        return None
    return str(type(block)((start, division_mask)))


def provide(networks: Networks, network: Network, owner: str, block: Block, mask: int) -> Subnet:
    """The owner's subnet of a network, made where there is none yet.

    Several workers may cut at once. The cloud refuses a range that is taken, and who is refused
    takes the next one; but of two that come at the same moment Neutron may let both have it. So
    each looks again afterwards, and gives way where it sees that. Raises ``OutOfCapacity`` when
    there is no range left.
    """
    taken = [subnet.cidr for subnet in network.subnets]
    for attempt in itertools.count(1):
        cidr = first_free(block, mask, taken)
        if cidr is None:
            return _own(networks, network, owner, block)
        try:
            made = networks.create_subnet(owner, network.id, cidr, gateway=True)
        except CloudError as error:
            taken = _ranges(networks, network)
            if first_free(block, mask, taken) != cidr:
                continue
            # Nobody has it, unless they took it back this very moment.
            if error.retryable or isinstance(error, OutOfCapacity) or attempt >= TRIES:
                raise
        else:
            if not _overlaps(made.cidr, _ranges(networks, network, but=made)):
                return made
            networks.delete_subnet(made.id)
        time.sleep(random.uniform(0, min(attempt, 5)))  # or both would give way again
        taken = _ranges(networks, network)
    raise AssertionError("unreachable")


def _ranges(networks: Networks, network: Network, but: Subnet | None = None) -> list[str]:
    """The ranges of a network as they are now, all or those of the others."""
    seen = networks.get_network(network.id)
    subnets = seen.subnets if seen is not None else ()
    return [subnet.cidr for subnet in subnets if but is None or subnet.id != but.id]


def _overlaps(cidr: str, others: Iterable[str]) -> bool:
    return any(ip_network(cidr).overlaps(ip_network(other)) for other in others)


def _own(networks: Networks, network: Network, owner: str, block: Block) -> Subnet:
    """What an earlier try has made: it counts among those that leave no room."""
    mine = {subnet.id for subnet in networks.list_subnets() if subnet.owner == owner}
    for subnet in network.subnets:
        if subnet.id in mine:
            return subnet
    raise OutOfCapacity(
        f"All subnets that service_network_cidr {block} can be cut into are in use.",
        hint="Choose a larger range; subnets that exist keep theirs.",
        public="There is no address range left for another share server. Use a share network that "
        "has one already, or ask the administrator for a larger range.",
    )
