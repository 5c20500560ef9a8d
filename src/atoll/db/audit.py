"""The reconcile pass's queries. Their number does not depend on the number of shares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from atoll.db import private_data
from atoll.db.tables import (
    access_rules,
    export_locations,
    messages,
    operations,
    share_network_subnets,
    share_networks,
    share_servers,
    shares,
    snapshots,
)
from atoll.model.keys import share_key
from atoll.model.records import AccessRule, Share, ShareServer, Snapshot
from atoll.model.states import (
    SERVERS_ASKING_FOR_WORK,
    SHARES_ASKING_FOR_WORK,
    SHARES_AT_REST,
    SNAPSHOTS_ASKING_FOR_WORK,
    UNFINISHED_OPERATIONS,
    UNSETTLED_RULES,
    FileSystemState,
    NetworkStatus,
    OperationStatus,
    RuleState,
    ServerStatus,
    ShareStatus,
)

FILE_SYSTEM_STATE = "file_system_state"
"""Where the driver's data about a share says how its file system is, unless it is sound."""

LATELY = timedelta(days=1)
"""How long a failure counts when the pause before the next try is computed."""


def without_operation(connection: Connection) -> list[str]:
    """Resources whose state asks for work but that have no active operation."""
    wanted: dict[str, tuple[Table, Sequence[StrEnum]]] = {
        "share": (shares, SHARES_ASKING_FOR_WORK),
        "snapshot": (snapshots, SNAPSHOTS_ASKING_FOR_WORK),
        "share_server": (share_servers, SERVERS_ASKING_FOR_WORK),
        "share_network": (share_networks, (NetworkStatus.DELETING,)),
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
        .where(undescribed, share_networks.c.status != NetworkStatus.ERROR, ~_active(network))
    ).scalars()
    return found


def _active(key: ColumnElement[str]) -> ColumnElement[bool]:
    return exists().where(operations.c.resource == key, _is_unfinished())


def _is_unfinished() -> ColumnElement[bool]:
    return operations.c.status.in_(UNFINISHED_OPERATIONS)


def busy(connection: Connection) -> set[str]:
    """Resources with an active operation."""
    statement = select(operations.c.resource).where(_is_unfinished())
    return set(connection.execute(statement).scalars())


def active_servers(connection: Connection) -> list[ShareServer]:
    """Share servers in the state active."""
    statement = select(share_servers).where(share_servers.c.status == ServerStatus.ACTIVE)
    found = connection.execute(statement).mappings()
    return [cast(ShareServer, dict(row)) for row in found]


def damaged_file_systems(connection: Connection) -> dict[str, FileSystemState]:
    """Keys of the shares whose file systems were found to have errors, and their states."""
    found = private_data.having(connection, FILE_SYSTEM_STATE)
    return {resource: FileSystemState(value) for resource, value in found.items()}


def served_shares(connection: Connection) -> dict[str, list[Share]]:
    """Shares at rest by share server.

    Each has its active rules as ``access_rules``, and its ``file_system_state`` as known until now.
    """
    states = damaged_file_systems(connection)
    rules: dict[str, list[AccessRule]] = defaultdict(list)
    wanted = select(access_rules).where(access_rules.c.state == RuleState.ACTIVE)
    for row in connection.execute(wanted).mappings():
        rules[row["share_id"]].append(cast(AccessRule, dict(row)))
    by_server: dict[str, list[Share]] = defaultdict(list)
    at_rest = select(shares).where(shares.c.status.in_(SHARES_AT_REST))
    for row in connection.execute(at_rest).mappings():
        state = states.get(share_key(row["id"]), FileSystemState.SOUND)
        more = {"access_rules": rules.get(row["id"], []), "file_system_state": state}
        share = cast(Share, {**row, **more})
        by_server[row["share_server_id"] or ""].append(share)
    return by_server


def sizes_of_shares(connection: Connection) -> list[Share]:
    """``id``, ``status``, ``size`` and ``wanted_size`` of all shares."""
    statement = select(shares.c.id, shares.c.status, shares.c.size, shares.c.wanted_size)
    return [cast(Share, dict(row)) for row in connection.execute(statement).mappings()]


def sizes_of_snapshots(connection: Connection) -> list[Snapshot]:
    """``id`` and ``size`` of all snapshots."""
    statement = select(snapshots.c.id, snapshots.c.size)
    return [cast(Snapshot, dict(row)) for row in connection.execute(statement).mappings()]


def unmade_shares(connection: Connection) -> list[Share]:
    """Shares without an active operation that were never served, or that failed to extend."""
    never_served = and_(
        shares.c.status == ShareStatus.ERROR,
        ~exists().where(export_locations.c.share_id == shares.c.id),
    )
    not_grown = and_(
        shares.c.status == ShareStatus.EXTENDING_ERROR, shares.c.wanted_size.is_not(None)
    )
    statement = select(shares).where(
        or_(never_served, not_grown), ~_active(literal("share/") + shares.c.id)
    )
    return [cast(Share, dict(row)) for row in connection.execute(statement).mappings()]


def failed_networks(connection: Connection) -> list[str]:
    """Ids of share networks in error that have no active operation."""
    statement = select(share_networks.c.id).where(
        share_networks.c.status == NetworkStatus.ERROR,
        ~_active(literal("share_network/") + share_networks.c.id),
    )
    return list(connection.execute(statement).scalars())


def failures(connection: Connection) -> dict[str, tuple[int, float]]:
    """By resource: how many operations failed lately (at least 1), and when the last one failed.

    Times are in epoch seconds. The last failure counts at any age, because Atoll may have been down
    since. A failure with a time in the future (the clock was wrong) is treated as long past.
    """
    now = datetime.now(UTC).replace(tzinfo=None)
    since, until = ((now - LATELY).isoformat(), now.isoformat())
    ended = operations.c.finished_at
    statement = (
        select(
            operations.c.resource,
            func.sum(case((ended.between(since, until), 1), else_=0)),
            func.max(case((ended <= until, ended))),
        )
        .where(operations.c.status == OperationStatus.FAILED)
        .group_by(operations.c.resource)
    )
    return {
        resource: (max(1, count), _epoch(last))
        for resource, count, last in connection.execute(statement)
    }


def _epoch(moment: str | None) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() if moment else 0.0


def idle_not_later_than(connection: Connection, now: float) -> None:
    """Correct ``idle_since`` where it is in the future, because the clock was wrong.

    Such a server counts as idle since ``now``, in epoch seconds.
    """
    connection.execute(
        update(share_servers).where(share_servers.c.idle_since > now).values(idle_since=now)
    )


def idle_servers(connection: Connection, before: float) -> list[str]:
    """Ids of share servers without shares that may be removed automatically.

    They have been empty since ``before``, or are in error. Warm servers that are active are kept.
    """
    idle = and_(
        share_servers.c.status == ServerStatus.ACTIVE,
        share_servers.c.idle_since < before,
        share_servers.c.share_network_subnet_id.is_not(None),
    )
    statement = select(share_servers.c.id).where(
        or_(share_servers.c.status == ServerStatus.ERROR, idle),
        share_servers.c.is_auto_deletable,
        share_servers.c.stands_in_for.is_(None),
        ~exists().where(shares.c.share_server_id == share_servers.c.id),
    )
    return list(connection.execute(statement).scalars())


def newest(connection: Connection) -> list[tuple[str, str]]:
    """The latest times in several tables (UTC, ISO 8601), each with what it belongs to."""
    columns = {
        "an operation": operations.c.created_at,
        "an operation's end": operations.c.finished_at,
        "a share": shares.c.created_at,
        "a snapshot": snapshots.c.created_at,
        "a message": messages.c.created_at,
    }
    found = {
        what: connection.execute(select(func.max(column))).scalar_one()
        for what, column in columns.items()
    }
    return [(what, moment) for what, moment in found.items() if moment is not None]
