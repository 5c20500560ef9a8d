"""Service subnets: equal pieces of one address range, one for each share server that needs one.

A subnet that exists keeps its range. Changed options apply to new ones only.
"""

from __future__ import annotations

from ipaddress import ip_network

from atoll.cloud.base import Network, Networks, Subnet
from atoll.cloud.sole import TRIES, pause
from atoll.errors import CloudError, ConfigurationError, OutOfCapacity
from atoll.ranges import Block, first_free, overlaps

LEAST_BITS = 3
"""A subnet has at least 8 addresses: for its gateway, its DHCP server and the instance."""


def pool(cidr: str, division_mask: int) -> Block:
    """The range to cut from. Raises ``ConfigurationError`` if pieces of that size don't fit."""
    try:
        block = ip_network(cidr)
    except ValueError as error:
        raise ConfigurationError(
            f"service_network_cidr is not an address range: {error}.",
            hint="Write it like 10.254.0.0/16.",
        ) from error
    if not block.prefixlen <= division_mask <= block.max_prefixlen - LEAST_BITS:
        raise ConfigurationError(
            f"{cidr} can't be cut into subnets with service_network_division_mask {division_mask}.",
            hint=f"Choose from {block.prefixlen} to {block.max_prefixlen - LEAST_BITS}.",
        )
    return block


def provide(networks: Networks, network: Network, owner: str, block: Block, mask: int) -> Subnet:
    """The owner's subnet of a network, made if there is none yet.

    Several workers may do this at once. The cloud refuses a range that is taken, and a worker that
    is refused takes the next one. Neutron may give one range to two workers that ask at the same
    moment, so each looks again afterwards and removes its subnet if another one overlaps. Raises
    ``OutOfCapacity`` when there is no range left.
    """
    taken: list[Block] = [ip_network(subnet.cidr) for subnet in network.subnets]
    failed = 0
    while True:
        cut = first_free(block, mask, taken)
        if cut is None:
            return _own(networks, network, owner, block)
        failed += 1
        try:
            made = networks.create_subnet(owner, network.id, str(cut), gateway=True)
        except CloudError as error:
            taken = _ranges(networks, network)
            if first_free(block, mask, taken) != cut:
                continue
            # No subnet has the range, unless another worker removed its own a moment ago.
            if error.retryable or isinstance(error, OutOfCapacity) or failed >= TRIES:
                raise
        else:
            if not overlaps(ip_network(made.cidr), _ranges(networks, network, but=made)):
                return made
            networks.delete_subnet(made.id)
        pause(failed)
        taken = _ranges(networks, network)


def _ranges(networks: Networks, network: Network, but: Subnet | None = None) -> list[Block]:
    """The ranges of a network as they are now; without the one of ``but``."""
    seen = networks.get_network(network.id)
    subnets = seen.subnets if seen is not None else ()
    return [ip_network(subnet.cidr) for subnet in subnets if but is None or subnet.id != but.id]


def _own(networks: Networks, network: Network, owner: str, block: Block) -> Subnet:
    """The subnet that an earlier try has made: it is one of those that leave no room."""
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
