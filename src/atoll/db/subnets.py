"""Queries of the subnets of share networks."""

from __future__ import annotations

from typing import Unpack
from uuid import uuid4

from sqlalchemy import Connection, select

from atoll.db.rows import Rows
from atoll.db.tables import share_network_subnets
from atoll.model.records import Metadata, Subnet

_rows = Rows[Subnet](share_network_subnets, "Share network subnet")
get, require = _rows.get, _rows.require


def create(
    connection: Connection,
    network_id: str,
    *,
    neutron_net_id: str | None = None,
    neutron_subnet_id: str | None = None,
    availability_zone: str | None = None,
    metadata: Metadata | None = None,
) -> str:
    """Add a subnet; return its id. Without ``neutron_net_id``, Atoll manages its network."""
    subnet_id = str(uuid4())
    values: Subnet = {
        "id": subnet_id,
        "share_network_id": network_id,
        "neutron_net_id": neutron_net_id,
        "neutron_subnet_id": neutron_subnet_id,
        "availability_zone": availability_zone,
        "managed": neutron_net_id is None,
        "deleting": False,
        "metadata": dict(metadata or {}),
    }
    _rows.add(connection, values)
    return subnet_id


def change(connection: Connection, subnet_id: str, /, **values: Unpack[Subnet]) -> bool:
    """Update columns, and ``updated_at``; return False if the subnet does not exist."""
    return _rows.change(connection, subnet_id, values)


def move(
    connection: Connection,
    subnet_id: str,
    neutron_net_id: str | None,
    neutron_subnet_id: str | None,
) -> None:
    """Assign another subnet of the cloud, which the worker then describes."""
    values: Subnet = {
        "neutron_net_id": neutron_net_id,
        "neutron_subnet_id": neutron_subnet_id,
        "network_type": None,
        "segmentation_id": None,
        "cidr": None,
        "ip_version": None,
        "gateway": None,
        "mtu": None,
    }
    _rows.change(connection, subnet_id, values)


def mark_deleting(connection: Connection, subnet_id: str) -> None:
    """Request the deletion of a subnet, which is hidden from then on."""
    _rows.change(connection, subnet_id, {"deleting": True})


def mark_all_deleting(connection: Connection, network_id: str) -> None:
    """Request the deletion of all subnets of a share network."""
    of_network = [share_network_subnets.c.share_network_id == network_id]
    _rows.change_where(connection, of_network, {"deleting": True})


def where(connection: Connection, /, **values: Unpack[Subnet]) -> list[Subnet]:
    """The subnets with these values, oldest first."""
    return _rows.where(connection, values)


def of_network(connection: Connection, network_id: str) -> list[Subnet]:
    """All subnets of a share network, oldest first, including those being deleted."""
    return _rows.where(connection, {"share_network_id": network_id})


def lock(connection: Connection, subnet_id: str) -> None:
    """Lock the subnet until the transaction ends, so that two shares don't make two servers.

    SQLite needs no row lock, because it has only one write transaction at a time.
    """
    if connection.dialect.name != "sqlite":
        found = select(share_network_subnets.c.id).where(share_network_subnets.c.id == subnet_id)
        connection.execute(found.with_for_update())
