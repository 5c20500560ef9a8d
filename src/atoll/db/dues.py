"""Times in the queue that are later than any normal delay or lease allows.

They were written while the clock was ahead. After its correction, such operations would wait, and
leases of dead workers would last, as long as the clock was ahead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, or_, select, update

from atoll.db.database import database_clock
from atoll.db.operations import ACTIVE, QUEUED, RUNNING
from atoll.db.tables import operations

SLACK = 1.0
"""Seconds of tolerance."""

_o = operations.c
_clock = database_clock()


@dataclass(frozen=True)
class Longest:
    """The longest normal delays and leases, in seconds."""

    delay: float
    """The time until an operation is due."""
    lease: float
    periods: Mapping[str, float]
    """Intervals of periodic work by resource, which replace ``delay`` there."""


def too_late(connection: Connection, longest: Longest) -> list[str]:
    """Resources whose operations become due, or whose leases expire, too far in the future."""
    wrong = or_(_planned_too_late(longest), _held_too_late(longest))
    return list(connection.execute(select(_o.resource).where(ACTIVE, wrong)).scalars())


def pull_back(connection: Connection, longest: Longest) -> None:
    """Make such operations due now, and such leases expire one lease from now.

    A live holder renews its lease before that.
    """
    for wrong, values in (
        (_planned_too_late(longest), {"not_before": _clock}),
        (_held_too_late(longest), {"lease_until": _clock + longest.lease}),
    ):
        # Locked rows are left for the next check, because waiting for them could be a deadlock.
        found = select(_o.id).where(ACTIVE, wrong).with_for_update(key_share=True, skip_locked=True)
        ids = list(connection.execute(found).scalars())
        if ids:
            connection.execute(update(operations).where(_o.id.in_(ids)).values(**values))


def _planned_too_late(longest: Longest) -> ColumnElement[bool]:
    limit: Any = longest.delay
    if longest.periods:
        whens = [(_o.resource == resource, period) for resource, period in longest.periods.items()]
        limit = case(*whens, else_=longest.delay)
    return and_(
        or_(_o.status == QUEUED, and_(_o.status == RUNNING, _o.again)),
        _o.not_before > _clock + limit + SLACK,
    )


def _held_too_late(longest: Longest) -> ColumnElement[bool]:
    # Another worker may be configured with a longer lease.
    return and_(_o.status == RUNNING, _o.lease_until > _clock + 3 * longest.lease + SLACK)
