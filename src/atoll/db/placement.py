"""Which share server a new share goes to; decided under a lock on the share network's subnet."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, func, select

from atoll.db.rows import Row
from atoll.db.tables import services, share_network_subnets, share_servers, shares


def lock_subnet(connection: Connection, subnet_id: str) -> None:
    """Hold the subnet until the transaction ends, so that two shares don't make two servers.

    SQLite has no row locks and needs none: its write transactions are one at a time.
    """
    statement = select(share_network_subnets.c.id).where(share_network_subnets.c.id == subnet_id)
    connection.execute(statement.with_for_update())


def candidates(connection: Connection, subnet_id: str, host: str) -> list[Row]:
    """Servers that may take a share, each with ``share_count``: active and fullest first.

    A server that has stopped answering (``unhealthy_since``) is none.
    """
    count = func.count(shares.c.id).label("share_count")
    statement = (
        select(share_servers, count)
        .outerjoin(shares, shares.c.share_server_id == share_servers.c.id)
        .where(
            share_servers.c.share_network_subnet_id == subnet_id,
            share_servers.c.host == host,
            share_servers.c.status.in_(("active", "creating")),
            share_servers.c.unhealthy_since.is_(None),
        )
        .group_by(share_servers.c.id)
        .order_by(share_servers.c.status, count.desc(), share_servers.c.created_at)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def _warm(host: str) -> tuple[ColumnElement[bool], ...]:
    return (
        share_servers.c.host == host,
        share_servers.c.share_network_subnet_id.is_(None),
        share_servers.c.status.in_(("active", "creating")),
    )


def take_warm(connection: Connection, host: str) -> str | None:
    """Id of a server that waits, booted, for a share network; locked against other takers."""
    statement = (
        select(share_servers.c.id)
        .where(*_warm(host), share_servers.c.status == "active")
        .where(share_servers.c.unhealthy_since.is_(None))
        .order_by(share_servers.c.created_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(statement).scalar_one_or_none()


def count_warm(connection: Connection, host: str) -> int:
    """How many servers wait for a share network, or boot in order to."""
    return connection.execute(select(func.count()).where(*_warm(host))).scalar_one()


def is_disabled(connection: Connection, host: str) -> bool:
    """Whether an administrator has taken the back end out of use for new shares."""
    statement = select(services.c.id).where(services.c.host == host, services.c.disabled)
    return connection.execute(statement).first() is not None


def count_shares(connection: Connection, server_id: str) -> int:
    """How many shares a server has, whatever their state."""
    statement = select(func.count()).where(shares.c.share_server_id == server_id)
    return connection.execute(statement).scalar_one()


def subnets_of(connection: Connection, share_network_id: str) -> list[Row]:
    """Subnets of a share network, oldest first."""
    statement = (
        select(share_network_subnets)
        .where(share_network_subnets.c.share_network_id == share_network_id)
        .order_by(share_network_subnets.c.created_at)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]
