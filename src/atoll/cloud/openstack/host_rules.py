"""nftables rules for a worker's host: it accepts only ping and replies from the service network.

The host's port has no security group, because the host may talk to all instances. So the host
itself closes the other direction, for all of its addresses. It forwards nothing either, neither
from instances and users' routers to its other networks nor the other way.
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.cloud import nftables
from atoll.cloud.nftables import table


def rules(deployment: str, devices: Iterable[str]) -> str:
    """The whole table, in nft's language, for the host's devices in the service network."""
    ours = ", ".join(f'"{device}"' for device in sorted(devices))
    return nftables.whole(
        table(deployment),
        [
            "chain from_service_network {",
            "ct state established,related accept",
            "meta l4proto { icmp, ipv6-icmp } accept",
            "drop",
            "}",
            "chain input {",
            "type filter hook input priority filter - 5; policy accept;",
            f"iifname {{ {ours} }} jump from_service_network",
            "}",
            "chain forward {",
            "type filter hook forward priority filter - 5; policy accept;",
            f"iifname {{ {ours} }} drop",
            f"oifname {{ {ours} }} drop",
            "}",
        ],
    )


def are_whole(deployment: str, devices: list[str]) -> bool:
    """Whether the kernel has exactly these rules."""
    return nftables.is_as_written(table(deployment), rules(deployment, devices))


def ensure(deployment: str, devices: list[str]) -> bool:
    """Load these rules; True if they had to be written. Raises ``CloudError``."""
    if are_whole(deployment, devices):
        return False
    nftables.write(rules(deployment, devices))
    return True


def remove(deployment: str) -> None:
    """Remove the rules, together with the last device. They may be absent."""
    if nftables.is_there(table(deployment)):
        nftables.remove(table(deployment))
