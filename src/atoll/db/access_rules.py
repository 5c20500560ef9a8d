"""Access rules: who may mount a share.

Users queue rules (``queued_to_apply``, ``queued_to_deny``). The worker starts to work on them
(``applying``, ``denying``), and then writes the result. Each step changes only rules in the state
that it starts from, so a rule that a user has denied meanwhile never becomes ``active``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Unpack, cast

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select, update

from atoll.db.rows import Rows
from atoll.db.tables import access_rules
from atoll.model.records import AccessRule
from atoll.model.states import RULE_TAKEN_IN_HAND, RULES_IN_HAND, RuleState

_CHUNK: Final = 500
_OF_SHARE = (
    select(access_rules)
    .where(access_rules.c.share_id == bindparam("share_id"))
    .order_by(access_rules.c.created_at, access_rules.c.id)
)
_SAME = select(access_rules.c.state).where(
    access_rules.c.share_id == bindparam("share_id"),
    access_rules.c.access_type == bindparam("access_type"),
    access_rules.c.access_to == bindparam("access_to"),
)
_COUNT = select(func.count()).where(access_rules.c.share_id == bindparam("share_id"))

_rows = Rows[AccessRule](access_rules, "Access rule")
get, require, lock, conditions = _rows.get, _rows.require, _rows.lock, _rows.conditions


def add(connection: Connection, /, **values: Unpack[AccessRule]) -> AccessRule:
    """Insert a rule and return its complete record."""
    return _rows.add(connection, values)


def change(connection: Connection, rule_id: str, /, **values: Unpack[AccessRule]) -> bool:
    """Update columns, and ``updated_at``; return False if the rule does not exist."""
    return _rows.change(connection, rule_id, values)


def of_share(
    connection: Connection, share_id: str, conditions: Sequence[ColumnElement[bool]] = ()
) -> list[AccessRule]:
    """A share's rules, oldest first."""
    statement = _OF_SHARE.where(*conditions) if conditions else _OF_SHARE
    found = connection.execute(statement, {"share_id": share_id}).mappings()
    return [cast(AccessRule, dict(row)) for row in found]


def same(
    connection: Connection, share_id: str, access_type: str, access_to: str
) -> RuleState | None:
    """The state of the share's rule for this client, if it has one."""
    key = {"share_id": share_id, "access_type": access_type, "access_to": access_to}
    return connection.execute(_SAME, key).scalar_one_or_none()


def count(connection: Connection, share_id: str) -> int:
    """How many rules the share has, in any state."""
    return int(connection.execute(_COUNT, {"share_id": share_id}).scalar_one())


def start(connection: Connection, share_id: str) -> None:
    """Mark a share's queued rules as being worked on."""
    for queued, in_hand in RULE_TAKEN_IN_HAND.items():
        of_this = [access_rules.c.share_id == share_id, access_rules.c.state == queued]
        _rows.change_where(connection, of_this, {"state": in_hand})


def finish(
    connection: Connection,
    *,
    removed: Sequence[str],
    active: Sequence[str],
    failed: Sequence[str],
) -> None:
    """Write the result for rules (by id), except those that were queued again meanwhile."""
    for ids in _chunks(removed):
        connection.execute(
            delete(access_rules).where(
                access_rules.c.id.in_(ids), access_rules.c.state == RuleState.DENYING
            )
        )
    for ids in _chunks(active):
        in_hand = _in_hand(ids, (RuleState.APPLYING, RuleState.UPDATING))
        _rows.change_where(connection, in_hand, {"state": RuleState.ACTIVE})
    for ids in _chunks(failed):
        _rows.change_where(connection, _in_hand(ids, RULES_IN_HAND), {"state": RuleState.ERROR})


def _in_hand(ids: Sequence[str], states: Sequence[RuleState]) -> list[ColumnElement[bool]]:
    return [access_rules.c.id.in_(ids), access_rules.c.state.in_(states)]


def remove_all(connection: Connection, share_id: str) -> None:
    """Delete all rules of a share."""
    connection.execute(delete(access_rules).where(access_rules.c.share_id == share_id))


def hold(connection: Connection, *, held: bool) -> None:
    """Mark all rules as having come with a restored backup, or (``held`` False) none."""
    other = access_rules.c.held.is_not(held)
    connection.execute(update(access_rules).where(other).values(held=held))


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(ids), _CHUNK):
        yield ids[begin : begin + _CHUNK]
