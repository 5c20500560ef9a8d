"""The queue's SQL: one row per operation, in the states queued, running, done and failed.

``engine`` decides what to do, and this module makes each step one race-free statement. On
PostgreSQL the locks are chosen so that no transaction waits for the queue. A claim skips locked
rows. A handler's transaction holds its row FOR KEY SHARE, which prevents a take-over but lets a
request mark the row ``again``. A statement that locks several rows skips those that are locked.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, cast

from sqlalchemy import (
    Connection,
    Float,
    String,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    text,
    update,
)

from atoll.db.database import database_clock, utcnow_text
from atoll.db.tables import operations
from atoll.model.records import OperationRecord
from atoll.model.states import UNFINISHED_OPERATIONS, OperationStatus

CHANNEL = "atoll_operations"
"""PostgreSQL's NOTIFY channel of the doorbell."""

# These are literals, so that the planner sees that the partial indexes apply.
QUEUED = literal_column(f"'{OperationStatus.QUEUED}'", String)
RUNNING = literal_column(f"'{OperationStatus.RUNNING}'", String)
_UNFINISHED = f"status IN ('{OperationStatus.QUEUED}', '{OperationStatus.RUNNING}')"
ACTIVE = text(_UNFINISHED)

RELEASED = 0.0
"""``lease_until`` of an operation whose holder is known to be dead."""

_o = operations.c
_clock = database_clock()


# --- enqueue ----------------------------------------------------------------------------------


def sooner(one: Any, other: Any) -> Any:
    """The smaller of two values, in SQL."""
    return case((one < other, one), else_=other)


def _insert(dialect: str) -> Any:
    """The dialect's own INSERT, because the general one has no ON CONFLICT."""
    # The other dialect is not imported: PostgreSQL's takes 2 MiB of memory in each process.
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(operations)


@cache
def _enqueue(dialect: str) -> Any:
    statement = _insert(dialect).values(
        id=bindparam("new_id"),
        resource=bindparam("new_resource"),
        lane=bindparam("new_lane"),
        status=QUEUED,
        again=false(),
        attempts=0,
        fence=0,
        not_before=_clock + bindparam("delay", type_=Float),
        request_id=bindparam("new_request_id"),
        created_at=bindparam("now_text"),
    )
    new = statement.excluded
    running = operations.c.status == RUNNING
    # A user's request, unlike background work, starts the count of failed tries again.
    asked = and_(not_(running), new.request_id.is_not(None))
    statement = statement.on_conflict_do_update(
        index_elements=[_o.resource],
        index_where=ACTIVE,
        set_={
            "lane": case((new.lane != "", new.lane), else_=_o.lane),
            "again": or_(_o.again, running),
            # While the operation runs, not_before is the time at which it is to run again.
            "not_before": case(
                (and_(running, not_(_o.again)), new.not_before),
                else_=sooner(_o.not_before, new.not_before),
            ),
            "waits_for": case((bindparam("delay", type_=Float) <= 0, null()), else_=_o.waits_for),
            "attempts": case((asked, 0), else_=_o.attempts),
            "created_at": case((asked, new.created_at), else_=_o.created_at),
            "request_id": case(
                (running, func.coalesce(new.request_id, _o.request_id)),
                else_=func.coalesce(_o.request_id, new.request_id),
            ),
        },
    )
    if dialect == "postgresql":
        # The notification is part of the transaction: it is sent when that commits.
        notify = func.pg_notify(literal_column(f"'{CHANNEL}'"), literal_column("''"))
        statement = statement.returning(notify)
    return statement


def put(
    connection: Connection, resource: str, *, lane: str, request_id: str | None, delay: float
) -> None:
    """Queue ``resource``. An active operation becomes due sooner, or runs again."""
    connection.execute(
        _enqueue(connection.dialect.name),
        {
            "new_id": str(uuid.uuid4()),
            "new_resource": resource,
            "new_lane": lane,
            "new_request_id": request_id,
            "delay": delay,
            "now_text": utcnow_text(),
        },
    )


def put_if_absent(connection: Connection, resource: str) -> None:
    """Queue ``resource`` unless it has an active operation, which is left as it is."""
    connection.execute(
        _insert(connection.dialect.name)
        .values(
            id=str(uuid.uuid4()),
            resource=resource,
            lane="",
            status=OperationStatus.QUEUED.value,
            again=False,
            attempts=0,
            fence=0,
            not_before=_clock,
            created_at=utcnow_text(),
        )
        .on_conflict_do_nothing(index_elements=[_o.resource], index_where=ACTIVE)
    )


# --- what the holder does ---------------------------------------------------------------------

_HOLD = (
    select(_o.id)
    .where(_o.id == bindparam("id"), _o.fence == bindparam("fence"), _o.status == RUNNING)
    .with_for_update(read=True, key_share=True)
)


def hold(connection: Connection, operation_id: str, fence: int) -> bool:
    """Prevent a take-over until the transaction ends; False if it has already happened."""
    row = connection.execute(_HOLD, {"id": operation_id, "fence": fence}).first()
    return row is not None


_MINE = _o.id.in_(bindparam("ids", expanding=True))
FREE_TO_LOCK = select(_o.id).where(_MINE).with_for_update(key_share=True, skip_locked=True)
_RENEW = (
    update(operations)
    .where(
        _o.id.in_(FREE_TO_LOCK.scalar_subquery()),
        _o.status == RUNNING,
        _o.owner == bindparam("renewing_owner"),
    )
    .values(lease_until=_clock + bindparam("lease", type_=Float))
)
_HELD = select(_o.id, _o.fence).where(_MINE, _o.status == RUNNING)


def renew(connection: Connection, owner: str, ids: Sequence[str], lease: float) -> dict[str, int]:
    """Extend the leases of these operations, including expired ones that were not taken over.

    Returns the fences of running operations by id. A different fence than the owner's means that
    another worker has taken over.
    """
    connection.execute(_RENEW, {"ids": ids, "renewing_owner": owner, "lease": lease})
    return {row.id: row.fence for row in connection.execute(_HELD, {"ids": ids})}


_AWAITED = select(exists().where(ACTIVE, _o.waits_for.in_(bindparam("resources", expanding=True))))


def is_awaited(connection: Connection, resources: list[str]) -> bool:
    """Whether a queued operation waits for one of ``resources``."""
    return bool(connection.execute(_AWAITED, {"resources": resources}).scalar_one())


def busy(resource: Any) -> Any:
    """Whether ``resource`` has an operation that others should wait for.

    One that is only scheduled for later (a periodic check), and has not failed, is ignored.
    """
    other = operations.alias("other")
    return exists().where(
        other.c.resource == resource,
        text(f"other.{_UNFINISHED}"),
        or_(
            other.c.status == RUNNING,
            other.c.attempts > 0,
            other.c.waits_for.is_not(None),
            other.c.not_before <= _clock,
        ),
    )


_IS_BUSY = select(busy(bindparam("waited_for", type_=String)))


def is_busy(connection: Connection, resource: str) -> bool:
    """Whether ``resource`` has an operation that others should wait for."""
    return bool(connection.execute(_IS_BUSY, {"waited_for": resource}).scalar_one())


def active(connection: Connection, resources: Iterable[str]) -> set[str]:
    """Those of ``resources`` that have a queued or running operation."""
    query = select(_o.resource).where(ACTIVE, _o.resource.in_(list(resources)))
    return set(connection.execute(query).scalars())


# --- housekeeping -----------------------------------------------------------------------------


def owners(connection: Connection) -> set[str]:
    """Names of the workers that have running operations."""
    query = select(_o.owner).where(ACTIVE, _o.status == RUNNING).distinct()
    return {owner for owner in connection.execute(query).scalars() if owner}


def release(connection: Connection, workers: Sequence[str]) -> int:
    """End the leases of dead workers, given by name; return the number of leases."""
    return connection.execute(
        update(operations)
        .where(ACTIVE, _o.status == RUNNING, _o.owner.in_(workers))
        .values(lease_until=RELEASED)
    ).rowcount


def prune(connection: Connection, status: OperationStatus, before: str, limit: int) -> int:
    """Delete up to ``limit`` rows that ended in this status before that time; return how many."""
    old = select(_o.id).where(_o.status == status.value, _o.finished_at < before).limit(limit)
    return connection.execute(delete(operations).where(_o.id.in_(old.scalar_subquery()))).rowcount


def drop_unfinished(connection: Connection, kinds: Collection[str]) -> int:
    """Delete the active operations of resources of these kinds; return how many.

    Their handlers can write nothing any more. What they were to do follows from the rows.
    """
    these = or_(*(_o.resource.startswith(f"{kind}/", autoescape=True) for kind in sorted(kinds)))
    return connection.execute(delete(operations).where(ACTIVE, these)).rowcount


def depth(connection: Connection) -> dict[str, int]:
    """How many operations are queued and running."""
    rows = connection.execute(select(_o.status, func.count()).where(ACTIVE).group_by(_o.status))
    return dict.fromkeys(UNFINISHED_OPERATIONS, 0) | {row[0]: row[1] for row in rows}


def in_status(connection: Connection, statuses: Sequence[OperationStatus]) -> list[OperationRecord]:
    """The operations in one of these statuses, oldest first."""
    statement = select(operations).where(_o.status.in_([status.value for status in statuses]))
    found = connection.execute(statement.order_by(_o.created_at)).mappings()
    return [cast(OperationRecord, dict(row)) for row in found]


def latest(connection: Connection, resource: str) -> OperationRecord | None:
    """The newest operation of a resource, whether it has ended or not."""
    statement = select(operations).where(_o.resource == resource)
    newest = statement.order_by(_o.created_at.desc()).limit(1)
    found = connection.execute(newest).mappings().first()
    return cast(OperationRecord, dict(found)) if found is not None else None
