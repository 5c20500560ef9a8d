"""Which packets may pass: one nftables table for each deployment, always written as a whole.

Instances reach the host for DHCP, ping and replies only. Nothing passes from one bridge to another.
On a share network instances reach each other. On the service network the bridge keeps them apart
(isolated ports), so there is no rule for that. The host may open any connection.
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.cloud import nftables
from atoll.cloud.nftables import table


def apply(deployment: str, share_bridges: Iterable[str], service_bridges: Iterable[str]) -> None:
    """Set these rules in one step, so that packets never meet only some of them."""
    nftables.write(rules(deployment, list(share_bridges), list(service_bridges)))


def is_whole(deployment: str, share_bridges: list[str], service_bridges: list[str]) -> bool:
    """Whether the kernel has exactly these rules."""
    text = rules(deployment, share_bridges, service_bridges)
    return nftables.is_as_written(table(deployment), text)


def rules(deployment: str, share_bridges: list[str], service_bridges: list[str]) -> str:
    """The whole table, in nft's language. Bridges' names never contain a user's text."""
    ours = ", ".join(f'"{bridge}"' for bridge in sorted((*share_bridges, *service_bridges)))
    # Frames within a bridge pass this chain only if br_netfilter is on.
    within = [f'iifname "{b}" oifname "{b}" accept' for b in sorted(share_bridges)]
    forward = [*within, f"iifname {{ {ours} }} drop", f"oifname {{ {ours} }} drop"] if ours else []
    incoming = [f"iifname {{ {ours} }} jump from_instances"] if ours else []
    lines = [
        "chain from_instances {",
        "ct state established,related accept",
        "meta l4proto { icmp, ipv6-icmp } accept",
        "udp dport { 67, 547 } accept",
        "drop",
        "}",
        "chain input {",
        "type filter hook input priority filter - 5; policy accept;",
        *incoming,
        "}",
        "chain forward {",
        "type filter hook forward priority filter - 5; policy accept;",
        *forward,
        "}",
    ]
    return nftables.whole(table(deployment), lines)


def present(deployment: str) -> bool:
    """Whether the table exists. It does not after a reboot of the host."""
    return nftables.is_there(table(deployment))


def remove(deployment: str) -> None:
    """Remove the table."""
    nftables.remove(table(deployment))
