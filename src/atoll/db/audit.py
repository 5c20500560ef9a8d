"""What the reconcile pass asks of the database, one query each, however many shares there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, exists, func, literal, or_, select

from atoll.db.rows import Row
from atoll.db.tables import (
    access_rules,
    export_locations,
    operations,
    share_network_subnets,
    share_networks,
    share_servers,
    shares,
    snapshots,
)

UNSETTLED_RULES = (
    "queued_to_apply",
    "applying",
    "queued_to_update",
    "updating",
    "queued_to_deny",
    "denying",
)

OWNERS = {
    "share": shares,
    "snapshot": snapshots,
    "share_server": share_servers,
    "share_network_subnet": share_network_subnets,
}
"""Kinds of rows that own things in the cloud; other owners (the service network) have no row."""


def stragglers(connection: Connection) -> list[str]:
    """Resources that want something but have no operation: whoever asked for it died, say."""
    wanted = {
        "share": (shares, ("creating", "creating_from_snapshot", "extending", "deleting")),
        "snapshot": (snapshots, ("creating", "deleting")),
        "share_server": (share_servers, ("creating", "deleting")),
        "share_network": (share_networks, ("deleting",)),
    }
    found: list[str] = []
    for kind, (table, statuses) in wanted.items():
        key = literal(f"{kind}/") + table.c.id
        statement = select(key).where(table.c.status.in_(statuses), ~_active(key))
        found += connection.execute(statement).scalars()
    share = literal("share/") + access_rules.c.share_id
    unsettled = access_rules.c.state.in_(UNSETTLED_RULES)
    found += connection.execute(
        select(share).distinct().where(unsettled, ~_active(share))
    ).scalars()
    network = literal("share_network/") + share_network_subnets.c.share_network_id
    undescribed = or_(share_network_subnets.c.cidr.is_(None), share_network_subnets.c.deleting)
    found += connection.execute(
        select(network)
        .distinct()
        .join(share_networks, share_networks.c.id == share_network_subnets.c.share_network_id)
        .where(undescribed, share_networks.c.status != "error", ~_active(network))
    ).scalars()
    return found


def _active(key: ColumnElement[str]) -> ColumnElement[bool]:
    return exists().where(
        operations.c.resource == key, operations.c.status.in_(("queued", "running"))
    )


def busy(connection: Connection) -> set[str]:
    """Resources with an active operation."""
    statement = select(operations.c.resource).where(operations.c.status.in_(("queued", "running")))
    return set(connection.execute(statement).scalars())


def active_servers(connection: Connection) -> list[Row]:
    """Share servers that should serve."""
    statement = select(share_servers).where(share_servers.c.status == "active")
    return [dict(row) for row in connection.execute(statement).mappings()]


def served_shares(connection: Connection) -> dict[str, list[Row]]:
    """Shares at rest by share server, each with the ``access_rules`` it should be served with."""
    rules: dict[str, list[Row]] = defaultdict(list)
    wanted = select(access_rules).where(access_rules.c.state == "active")
    for row in connection.execute(wanted).mappings():
        rules[row["share_id"]].append(dict(row))
    by_server: dict[str, list[Row]] = defaultdict(list)
    at_rest = select(shares).where(shares.c.status.in_(("available", "extending_error")))
    for row in connection.execute(at_rest).mappings():
        share = {**row, "access_rules": rules.get(row["id"], [])}
        by_server[row["share_server_id"] or ""].append(share)
    return by_server


def unmade_shares(connection: Connection) -> list[Row]:
    """Shares that were never served, or not grown as they should be, and are not worked on."""
    never_served = and_(
        shares.c.status == "error", ~exists().where(export_locations.c.share_id == shares.c.id)
    )
    not_grown = and_(shares.c.status == "extending_error", shares.c.wanted_size.is_not(None))
    statement = select(shares).where(
        or_(never_served, not_grown), ~_active(literal("share/") + shares.c.id)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def failed_networks(connection: Connection) -> list[str]:
    """Ids of share networks in error that are not worked on."""
    statement = select(share_networks.c.id).where(
        share_networks.c.status == "error",
        ~_active(literal("share_network/") + share_networks.c.id),
    )
    return list(connection.execute(statement).scalars())


def failures(connection: Connection) -> dict[str, tuple[int, float]]:
    """How often work on a resource was given up in the last day, and when last (epoch seconds)."""
    since = (datetime.now(UTC) - timedelta(days=1)).replace(tzinfo=None).isoformat()
    statement = (
        select(operations.c.resource, func.count(), func.max(operations.c.finished_at))
        .where(operations.c.status == "failed", operations.c.finished_at >= since)
        .group_by(operations.c.resource)
    )
    return {
        resource: (count, datetime.fromisoformat(last).replace(tzinfo=UTC).timestamp())
        for resource, count, last in connection.execute(statement)
    }


def known_owners(connection: Connection) -> set[str]:
    """Keys of everything that may own a thing in the cloud."""
    return {
        f"{kind}/{row_id}"
        for kind, table in OWNERS.items()
        for row_id in connection.execute(select(table.c.id)).scalars()
    }


def worked_on(connection: Connection, resources: Iterable[str]) -> set[str]:
    """Those of ``resources`` that this database remembers an operation of."""
    statement = (
        select(operations.c.resource).distinct().where(operations.c.resource.in_(list(resources)))
    )
    return set(connection.execute(statement).scalars())


def idle_servers(connection: Connection, before: float) -> list[str]:
    """Ids of share servers that may be removed by themselves.

    Those are without a share since ``before``; or in error, then at once. Warm ones that came to be
    wait.
    """
    idle = and_(
        share_servers.c.status == "active",
        share_servers.c.idle_since < before,
        share_servers.c.share_network_subnet_id.is_not(None),
    )
    statement = select(share_servers.c.id).where(
        or_(share_servers.c.status == "error", idle),
        share_servers.c.is_auto_deletable,
        ~exists().where(shares.c.share_server_id == share_servers.c.id),
    )
    return list(connection.execute(statement).scalars())
