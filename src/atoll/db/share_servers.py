"""Share servers. The placement of shares on them is in ``placement.py``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Unpack, cast

from sqlalchemy import ColumnElement, Connection, Select, Table, case, func, or_, select, update

from atoll.db import pages
from atoll.db.rows import Rows
from atoll.db.tables import share_network_subnets as subnets
from atoll.db.tables import share_networks, share_servers
from atoll.errors import NotFound
from atoll.model.records import ShareServer
from atoll.model.states import ServerStatus

_rows = Rows[ShareServer](share_servers, "Share server")
get, lock = _rows.get, _rows.lock


def add(connection: Connection, /, **values: Unpack[ShareServer]) -> ShareServer:
    """Insert a share server and return its complete record."""
    return _rows.add(connection, values)


def change(connection: Connection, server_id: str, /, **values: Unpack[ShareServer]) -> bool:
    """Update columns, and ``updated_at``; return False if the server does not exist."""
    return _rows.change(connection, server_id, values)


def count_silent(
    connection: Connection, host: str, moment: float, seconds: float
) -> tuple[int, int]:
    """How many active servers of a back end fell silent around a moment, and how many it has.

    That is within ``seconds`` before or after ``moment`` (epoch seconds).
    """
    since = share_servers.c.unhealthy_since
    together = case((since.between(moment - seconds, moment + seconds), 1), else_=0)
    statement = select(func.coalesce(func.sum(together), 0), func.count()).where(
        share_servers.c.host == host, share_servers.c.status == ServerStatus.ACTIVE
    )
    silent, active = connection.execute(statement).one()
    return silent, active


def to_be_checked(
    connection: Connection, host: str, ids: Collection[str], instance_ids: Collection[str]
) -> list[str]:
    """Ids of the active servers of a back end with one of these ids, or of these instances."""
    wanted = share_servers.c.id.in_(ids) | share_servers.c.identifier.in_(instance_ids)
    statement = select(share_servers.c.id).where(
        wanted, share_servers.c.host == host, share_servers.c.status == ServerStatus.ACTIVE
    )
    return list(connection.execute(statement).scalars())


def mark_silent(connection: Connection, ids: Collection[str], now: float) -> None:
    """Record that these servers have been silent since ``now`` (epoch seconds), if not earlier."""
    never = share_servers.c.unhealthy_since.is_(None)
    connection.execute(
        update(share_servers).where(share_servers.c.id.in_(ids), never).values(unhealthy_since=now)
    )


def where(connection: Connection, /, **values: Unpack[ShareServer]) -> list[ShareServer]:
    """The share servers with these values, oldest first."""
    return _rows.where(connection, values)


def _statement() -> Select[Any]:
    return (
        select(
            share_servers,
            subnets.c.share_network_id.label("share_network_id"),
            share_networks.c.name.label("share_network_name"),
        )
        .outerjoin(subnets, subnets.c.id == share_servers.c.share_network_subnet_id)
        .outerjoin(share_networks, share_networks.c.id == subnets.c.share_network_id)
    )


def _or_id(table: Table, name: str) -> ColumnElement[str]:
    """A text column's value, or the row's id where it is absent or empty."""
    return func.coalesce(func.nullif(table.c[name], ""), table.c.id)


def require(connection: Connection, server_id: str) -> ShareServer:
    """A share server with ``share_network_id`` and ``share_network_name``. Raises ``NotFound``."""
    statement = _statement().where(share_servers.c.id == server_id)
    found = connection.execute(statement).mappings().first()
    if found is None:
        raise NotFound(f"Share server {server_id} could not be found.")
    return cast(ShareServer, dict(found))


def find(connection: Connection, equal: Mapping[str, Any]) -> list[ShareServer]:
    """Share servers whose columns have these values.

    The key ``share_network`` means a share network's id or name; ``share_network_id`` and
    ``share_network_name`` mean only one of them. The id stands for a name, and for the
    ``identifier`` of a server, where there is none.
    """
    statement = _statement()
    for name, value in equal.items():
        is_id, is_name = share_networks.c.id == value, share_networks.c.name == value
        if name == "share_network":
            same = or_(is_id, is_name)
        elif name == "share_network_id":
            same = is_id
        elif name == "share_network_name":
            same = _or_id(share_networks, "name") == value
        elif name == "identifier":
            same = _or_id(share_servers, name) == value
        else:
            same = pages.same(share_servers.c[name], value)
        statement = statement.where(same)
    found = connection.execute(statement).mappings()
    return [cast(ShareServer, dict(row)) for row in found]
