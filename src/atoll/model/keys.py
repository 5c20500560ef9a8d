"""Keys of resources: ``<kind>/<id>``.

A key names what an operation is about, what owns a thing in the cloud (it is written in the thing's
tag), and what the driver remembers of a resource.
"""

from __future__ import annotations

from typing import Final

SERVICE_NETWORK: Final = "service_network"
"""Owner of the network in which Atoll reaches service instances. It belongs to the deployment."""

COMMON_LANE: Final = "common_server"
"""Where operations on shares of the common server queue up."""

SERVER_STATE: Final = "share_server_state"
"""The kind of a share server's state."""


def share_key(share_id: str) -> str:
    """The share: its operations, its volume, and what the driver remembers of it."""
    return f"share/{share_id}"


def snapshot_key(snapshot_id: str) -> str:
    """The snapshot."""
    return f"snapshot/{snapshot_id}"


def server_key(server_id: str) -> str:
    """The share server: its instance, its ports, its identity."""
    return f"share_server/{server_id}"


def state_key(server_id: str) -> str:
    """The share server's state: its volume, which outlives its instances."""
    return f"{SERVER_STATE}/{server_id}"


def network_key(network_id: str) -> str:
    """The share network. It owns nothing in the cloud; its subnets do."""
    return f"share_network/{network_id}"


def subnet_key(subnet_id: str) -> str:
    """The subnet of a share network: the network that Atoll has made for it."""
    return f"share_network_subnet/{subnet_id}"


def name_of(key: str) -> str:
    """The name that people see of what was made for the owner of this key.

    Nothing is found by it.
    """
    return f"atoll-{key.replace('/', '-')}"


def split(key: str) -> tuple[str, str]:
    """Kind and id."""
    kind, _, row_id = key.partition("/")
    return kind, row_id
