"""How runs of operations end: the last of the queue's SQL (``operations``)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    Boolean,
    Connection,
    Float,
    Integer,
    String,
    Text,
    and_,
    bindparam,
    case,
    false,
    literal,
    null,
    or_,
    select,
    update,
)

from atoll.db.database import database_clock, utcnow_text
from atoll.db.operations import FREE_TO_LOCK, QUEUED, RUNNING, sooner
from atoll.db.tables import operations
from atoll.model.states import OperationStatus

_o = operations.c
_clock = database_clock()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a running row ends: finished (``status``), or back in the queue (``requeue``).

    A row that was requested ``again`` in the meantime returns to the queue in any case.
    """

    id: str
    fence: int
    lane: str
    status: OperationStatus = OperationStatus.DONE
    requeue: bool = False
    delay: float = 0.0
    """Seconds until due, with ``requeue``."""
    fresh: bool = True
    """Whether tries and age start at zero if the row returns to the queue."""
    failed_tries: int = 0
    waits_for: str | None = None
    error: str | None = None
    request_id: str | None = None
    """Of the request that this run answered. The row has that of a later one if there was one."""


_IS_MINE = (
    _o.id == bindparam("ended_id"),
    _o.fence == bindparam("ended_fence"),
    _o.status == RUNNING,
)
# A row that was requested again returns to the queue. Its failure becomes a row of its own, because
# failed work is tried again, and operators look for it, by the failures that are on record.
_KEEP_FAILURE = operations.insert().from_select(
    [
        "id",
        "resource",
        "lane",
        "status",
        "again",
        "attempts",
        "fence",
        "not_before",
        "request_id",
        "error",
        "created_at",
        "finished_at",
    ],
    select(
        bindparam("new_id", type_=String),
        _o.resource,
        _o.lane,
        literal(OperationStatus.FAILED.value),
        false(),
        _o.attempts,
        _o.fence,
        _o.not_before,
        bindparam("answered", type_=String),
        bindparam("new_error", type_=Text),
        _o.created_at,
        bindparam("now_text", type_=String),
    ).where(*_IS_MINE, _o.again),
)

_back = or_(_o.again, bindparam("requeue", type_=Boolean))
_due = _clock + bindparam("delay", type_=Float)
_SETTLE = (
    update(operations)
    .where(*_IS_MINE)
    .values(
        status=case((_back, QUEUED), else_=bindparam("final", type_=String)),
        not_before=case(
            (
                and_(_o.again, bindparam("requeue", type_=Boolean)),
                sooner(_o.not_before, _due),
            ),
            (bindparam("requeue", type_=Boolean), _due),
            else_=_o.not_before,
        ),
        attempts=case(
            (bindparam("fresh", type_=Boolean), 0),
            else_=_o.attempts + bindparam("failed_tries", type_=Integer),
        ),
        waits_for=case((_o.again, null()), else_=bindparam("new_waits_for", type_=String)),
        created_at=case(
            (and_(_back, bindparam("fresh", type_=Boolean)), bindparam("now_text", type_=String)),
            else_=_o.created_at,
        ),
        finished_at=case((_back, null()), else_=bindparam("now_text", type_=String)),
        error=bindparam("new_error", type_=Text),
        lane=bindparam("new_lane", type_=String),
        again=false(),
        owner=null(),
        lease_until=null(),
    )
)


def settle(connection: Connection, endings: Sequence[Ending]) -> list[Ending]:
    """Write how operations ended, except those that another worker has taken over.

    Returns those whose rows are locked, which must be tried again: waiting for one row while
    holding others could cause a deadlock.
    """
    later: list[Ending] = []
    if connection.dialect.name == "postgresql":
        ids = {ending.id for ending in endings}
        free = set(connection.execute(FREE_TO_LOCK, {"ids": list(ids)}).scalars())
        later = [ending for ending in endings if ending.id not in free]
        endings = [ending for ending in endings if ending.id in free]
    if endings:
        now_text = utcnow_text()
        parameters = [_settle_parameters(one, now_text) for one in endings]
        failures = [
            {**one, "new_id": str(uuid.uuid4())}
            for one in parameters
            if one["final"] == OperationStatus.FAILED and not one["requeue"]
        ]
        if failures:
            connection.execute(_KEEP_FAILURE, failures)
        connection.execute(_SETTLE, parameters)
    return later


def _settle_parameters(ending: Ending, now_text: str) -> dict[str, Any]:
    values = asdict(ending)
    return {
        "ended_id": values["id"],
        "ended_fence": values["fence"],
        "final": values["status"].value,
        "new_lane": values["lane"],
        "new_waits_for": values["waits_for"],
        "new_error": values["error"],
        "requeue": values["requeue"],
        "delay": values["delay"],
        "fresh": values["fresh"],
        "failed_tries": values["failed_tries"],
        "now_text": now_text,
        "answered": values["request_id"],
    }
