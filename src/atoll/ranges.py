"""Which parts of an address range are free: pure algebra, below everything that makes subnets."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

Block = IPv4Network | IPv6Network


def first_free(pool: Block, prefix: int, taken: Iterable[Block]) -> Block | None:
    """The lowest part of ``pool`` with that prefix length that overlaps with no range of ``taken``.

    None if there is none. It takes as long as ``taken`` is, however many parts ``pool`` has.
    """
    size = 1 << (pool.max_prefixlen - prefix)
    others = [other for other in taken if other.version == pool.version]
    start = int(pool.network_address)
    for other in sorted(others, key=lambda other: int(other.network_address)):
        if int(other.network_address) >= start + size:
            break
        # The next part begins after this range. A range that ends earlier changes nothing.
        start = max(start, -(-(int(other.broadcast_address) + 1) // size) * size)
    if start > int(pool.broadcast_address):
        return None
    return type(pool)((start, prefix))


def overlaps(block: Block, others: Iterable[Block]) -> bool:
    """Whether the range has an address in common with one of the others."""
    return any(block.overlaps(other) for other in others)
