"""Claims due operations for a worker, and gives each a new fence.

A claim never waits for a row. On PostgreSQL it skips locked rows, and on SQLite its transaction is
the only one that writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Boolean,
    Connection,
    Float,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    not_,
    null,
    or_,
    select,
    update,
)

from atoll.db.database import database_clock
from atoll.db.operations import ACTIVE, QUEUED, RELEASED, RUNNING, busy
from atoll.db.tables import fences, operations
from atoll.model.states import OperationStatus

WAIT_LIMIT = 300.0
"""Seconds after which a postponed operation runs again even if what it waits for is busy."""

_o = operations.c
_clock = database_clock()


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row that this worker has claimed."""

    id: str
    resource: str
    lane: str
    fence: int
    attempts: int
    request_id: str | None
    created_at: str
    taken_over: bool


_CANDIDATES: Select[Any] = (
    select(_o.id, _o.resource, _o.lane, _o.status, _o.attempts, _o.request_id, _o.created_at)
    .where(
        ACTIVE,
        _o.lane.not_in(bindparam("full_lanes", expanding=True)),
        or_(
            and_(
                _o.status == QUEUED,
                _o.not_before <= _clock,
                or_(
                    _o.waits_for.is_(None),
                    not_(busy(_o.waits_for)),
                    _o.not_before <= _clock - WAIT_LIMIT,
                ),
            ),
            and_(
                _o.status == RUNNING,
                _o.lease_until < _clock,
                or_(bindparam("take_over", type_=Boolean), _o.lease_until == RELEASED),
                _o.id.not_in(bindparam("mine", expanding=True)),
            ),
        ),
    )
    .order_by(_o.not_before)
    .limit(bindparam("limit", type_=Integer))
)
_CANDIDATES_LOCKED = _CANDIDATES.with_for_update(skip_locked=True, of=operations)

# Fences are at least the clock's time, so that they grow even if an old backup was restored or a
# power failure lost the last commits. Guest agents remember the highest fence that they have seen.
_clock_ms = func.cast(_clock * 1000, fences.c.last.type)
_TAKE_FENCES = (
    update(fences)
    .values(
        last=case((fences.c.last > _clock_ms, fences.c.last), else_=_clock_ms)
        + bindparam("count", type_=Integer)
    )
    .returning(fences.c.last)
)

_CLAIM = (
    update(operations)
    .where(_o.id == bindparam("claimed_id"))
    .values(
        status=RUNNING,
        fence=bindparam("new_fence"),
        owner=bindparam("new_owner"),
        lease_until=_clock + bindparam("lease", type_=Float),
        attempts=bindparam("new_attempts"),
        waits_for=null(),
        # This run serves all requests that were due before it.
        again=and_(_o.again, _o.not_before > _clock),
    )
)


def claim(
    connection: Connection,
    *,
    owner: str,
    lease: float,
    free: int,
    lane_room: dict[str, int],
    lane_width: int,
    mine: Iterable[str],
    take_over: bool,
) -> tuple[list[Claimed], bool]:
    """Claim up to ``free`` due operations, oldest due first; return whether to claim once more.

    ``lane_room`` says how many more operations of a lane may run here; other lanes have room for
    ``lane_width``. With ``take_over``, running operations whose lease has expired are due, too,
    except those in ``mine``.
    """
    limit = 2 * free + 8
    candidates = connection.execute(
        _CANDIDATES if connection.dialect.name == "sqlite" else _CANDIDATES_LOCKED,
        {
            "full_lanes": [lane for lane, room in lane_room.items() if room <= 0],
            "take_over": take_over,
            "mine": list(mine),
            "limit": limit,
        },
    ).all()
    chosen = _with_room(candidates, free, lane_room, lane_width)
    if not chosen:
        return [], False
    fence = connection.execute(_TAKE_FENCES, {"count": len(chosen)}).scalar_one() - len(chosen)
    claimed = [
        Claimed(
            id=row.id,
            resource=row.resource,
            lane=row.lane,
            fence=(fence := fence + 1),
            attempts=row.attempts
            + (row.status == OperationStatus.RUNNING),  # the death of its worker is a failed try
            request_id=row.request_id,
            created_at=row.created_at,
            taken_over=row.status == OperationStatus.RUNNING,
        )
        for row in chosen
    ]
    connection.execute(
        _CLAIM,
        [
            {
                "claimed_id": one.id,
                "new_fence": one.fence,
                "new_owner": owner,
                "lease": lease,
                "new_attempts": one.attempts,
            }
            for one in claimed
        ],
    )
    return claimed, len(chosen) < free and len(candidates) == limit


def _with_room(
    candidates: Iterable[Row[Any]], free: int, lane_room: dict[str, int], lane_width: int
) -> list[Row[Any]]:
    """The first ``free`` candidates whose lanes have room."""
    room = dict(lane_room)
    chosen: list[Row[Any]] = []
    for row in candidates:
        if len(chosen) < free and (not row.lane or room.get(row.lane, lane_width) > 0):
            room[row.lane] = room.get(row.lane, lane_width) - 1
            chosen.append(row)
    return chosen


_ANY_DUE = select(exists(_CANDIDATES.with_only_columns(_o.id).order_by(None).limit(None)))


def any_due(
    connection: Connection, *, full_lanes: list[str], mine: list[str], take_over: bool
) -> bool:
    """Whether ``claim`` would find an operation."""
    return bool(
        connection.execute(
            _ANY_DUE, {"full_lanes": full_lanes, "take_over": take_over, "mine": mine}
        ).scalar_one()
    )


_NEXT_DUE = select(func.min(_o.not_before) - _clock).where(
    ACTIVE, _o.status == QUEUED, _o.not_before > _clock
)


def next_due(connection: Connection) -> float | None:
    """Seconds until the next queued operation becomes due, apart from those that are due now."""
    value: float | None = connection.execute(_NEXT_DUE).scalar_one()
    return value
