"""Share networks and their subnets; ``require`` and ``find`` leave out those being deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Unpack, cast
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select

from atoll.db import pages
from atoll.db import subnets as subnet_rows
from atoll.db.rows import Rows
from atoll.db.tables import share_network_subnets as subnets
from atoll.db.tables import share_networks as networks
from atoll.db.tables import share_servers, shares
from atoll.errors import NotFound
from atoll.model.records import ShareNetwork, Subnet
from atoll.model.states import NetworkStatus

SORTABLE = ("id", "name", "created_at", "updated_at", "project_id", "status")
NEUTRON_IDS = ("neutron_net_id", "neutron_subnet_id")
FILLED_BY_WORKER = ("network_type", "segmentation_id", "cidr", "ip_version", "gateway", "mtu")
"""Columns of a subnet that the worker fills in from the cloud's description."""
OF_SUBNETS = (*NEUTRON_IDS, *FILLED_BY_WORKER, "availability_zone")
"""Columns that belong to subnets, not to the networks themselves."""


_rows = Rows[ShareNetwork](networks, "Share network")
get, lock, remove = _rows.get, _rows.lock, _rows.remove


def require(connection: Connection, network_id: str, project_id: str | None = None) -> ShareNetwork:
    """A share network with its ``subnets``, of this project if given. Raises ``NotFound``."""
    statement = select(networks).where(networks.c.id == network_id, _is_visible())
    if project_id is not None:
        statement = statement.where(networks.c.project_id == project_id)
    found = connection.execute(statement).mappings().first()
    if found is None:
        raise NotFound(f"Share network {network_id} could not be found.")
    return _with_subnets(connection, [found])[0]


def find(
    connection: Connection,
    project_id: str | None,
    equal: Mapping[str, Any],
    like: Mapping[str, str],
    page: pages.Wanted,
) -> tuple[list[ShareNetwork], bool]:
    """A page of a project's share networks, or of all, and whether there are more pages.

    ``equal`` and ``like`` (contains) are by column. ``equal`` may also name columns of subnets, of
    which one must match, and ``created_since`` and ``created_before`` (ISO 8601).
    """
    conditions = [_is_visible(), *pages.like(networks, like)]
    if project_id is not None:
        conditions.append(networks.c.project_id == project_id)
    conditions += [_condition(name, value) for name, value in equal.items()]
    found, more = pages.find(connection, networks, conditions, page)
    return _with_subnets(connection, found), more


def _is_visible() -> ColumnElement[bool]:
    return networks.c.status != NetworkStatus.DELETING


def _condition(name: str, value: Any) -> ColumnElement[bool]:
    same: ColumnElement[bool]
    if name == "created_since":
        same = networks.c.created_at >= value
    elif name == "created_before":
        same = networks.c.created_at <= value
    elif name in OF_SUBNETS:
        same = exists().where(
            subnets.c.share_network_id == networks.c.id,
            subnets.c.deleting.is_(False),
            pages.same(subnets.c[name], value),
        )
    else:
        same = networks.c[name] == value
    return same


def _with_subnets(connection: Connection, found: Iterable[Mapping[Any, Any]]) -> list[ShareNetwork]:
    by_id = {row["id"]: cast(ShareNetwork, {**row, "subnets": []}) for row in found}
    statement = (
        select(subnets)
        .where(subnets.c.share_network_id.in_(list(by_id)), subnets.c.deleting.is_(False))
        .order_by(subnets.c.created_at, subnets.c.id)
    )
    for subnet in connection.execute(statement).mappings() if by_id else ():
        by_id[subnet["share_network_id"]]["subnets"].append(cast(Subnet, dict(subnet)))
    return list(by_id.values())


def create(
    connection: Connection,
    project_id: str,
    user_id: str | None,
    *,
    name: str | None = None,
    description: str | None = None,
) -> str:
    """Add a share network without subnets; return its id."""
    network_id = str(uuid4())
    values: ShareNetwork = {
        "id": network_id,
        "project_id": project_id,
        "user_id": user_id,
        "name": name,
        "description": description,
        "status": NetworkStatus.ACTIVE,
    }
    _rows.add(connection, values)
    return network_id


def change(connection: Connection, network_id: str, /, **values: Unpack[ShareNetwork]) -> bool:
    """Update columns, and ``updated_at``; return False if the network does not exist."""
    return _rows.change(connection, network_id, values)


def count_shares(connection: Connection, network_id: str, subnet_id: str | None = None) -> int:
    """How many shares a network has; with ``subnet_id``, how many are or may get on that subnet."""
    statement = (
        select(func.count())
        .select_from(shares)
        .outerjoin(share_servers, share_servers.c.id == shares.c.share_server_id)
        .where(shares.c.share_network_id == network_id)
    )
    if subnet_id is not None:
        statement = statement.where(
            or_(
                share_servers.c.share_network_subnet_id == subnet_id,
                shares.c.share_server_id.is_(None),
            )
        )
    return connection.execute(statement).scalar_one()


def has_servers(connection: Connection, network_id: str) -> bool:
    """Whether the network has share servers on any of its subnets."""
    statement = (
        select(share_servers.c.id)
        .join(subnets, subnets.c.id == share_servers.c.share_network_subnet_id)
        .where(subnets.c.share_network_id == network_id)
    )
    return connection.execute(statement.limit(1)).first() is not None


def mark_deleting(connection: Connection, network_id: str) -> None:
    """Request the deletion of a network and its subnets, which are hidden from then on."""
    _rows.change(connection, network_id, {"status": NetworkStatus.DELETING})
    subnet_rows.mark_all_deleting(connection, network_id)


def deleting(network: ShareNetwork) -> bool:
    """Whether the deletion of the network was requested."""
    return network["status"] == NetworkStatus.DELETING
