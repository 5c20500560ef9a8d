"""Access rules: who may mount a share.

Users queue rules (``queued_to_apply``, ``queued_to_deny``), the worker takes them in hand
(``applying``, ``denying``) and settles them. Each step names the state that it starts from, so a
rule that a user has denied meanwhile is never made ``active`` by the step that was under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, update

from atoll.db.database import utcnow_text
from atoll.db.rows import Row
from atoll.db.tables import access_rules

_CHUNK: Final = 500
_GET = select(access_rules).where(access_rules.c.id == bindparam("rule_id"))
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
_INSERT = insert(access_rules)
_SETTLED: Final = {"applying": "active", "updating": "active"}


def get(connection: Connection, rule_id: str) -> Row | None:
    """The rule, or None."""
    found = connection.execute(_GET, {"rule_id": rule_id}).mappings().first()
    return dict(found) if found is not None else None


def lock(connection: Connection, rule_id: str) -> Row | None:
    """The rule, locked until this (write) transaction ends."""
    statement = _GET.with_for_update()
    found = connection.execute(statement, {"rule_id": rule_id}).mappings().first()
    return dict(found) if found is not None else None


def of_share(
    connection: Connection, share_id: str, conditions: Sequence[ColumnElement[bool]] = ()
) -> list[Row]:
    """A share's rules, oldest first."""
    statement = _OF_SHARE.where(*conditions) if conditions else _OF_SHARE
    return [dict(row) for row in connection.execute(statement, {"share_id": share_id}).mappings()]


def same(connection: Connection, share_id: str, access_type: str, access_to: str) -> str | None:
    """The state of the share's rule for this client, if it has one."""
    key = {"share_id": share_id, "access_type": access_type, "access_to": access_to}
    return connection.execute(_SAME, key).scalar_one_or_none()


def count(connection: Connection, share_id: str) -> int:
    """How many rules the share has, in whatever state."""
    return int(connection.execute(_COUNT, {"share_id": share_id}).scalar_one())


def add(connection: Connection, values: Mapping[str, Any]) -> Row:
    """Insert a rule and give back its whole row."""
    row: Row = {**dict.fromkeys(access_rules.c.keys()), "created_at": utcnow_text(), **values}
    connection.execute(_INSERT, row)
    return row


def change(connection: Connection, rule_id: str, **values: Any) -> None:
    """Update columns, and ``updated_at``."""
    _change(connection, [access_rules.c.id == rule_id], **values)


def start(connection: Connection, share_id: str, steps: Mapping[str, str]) -> None:
    """Take a share's queued rules in hand: from each state (key) to the next (value)."""
    for was, now in steps.items():
        of_this = [access_rules.c.share_id == share_id, access_rules.c.state == was]
        _change(connection, of_this, state=now)


def finish(
    connection: Connection,
    *,
    removed: Sequence[str],
    active: Sequence[str],
    failed: Sequence[str],
) -> None:
    """Settle rules (by id) that are in hand; those that were queued anew meanwhile stay so."""
    for ids in _chunks(removed):
        connection.execute(
            delete(access_rules).where(
                access_rules.c.id.in_(ids), access_rules.c.state == "denying"
            )
        )
    for ids in _chunks(active):
        for was, now in _SETTLED.items():
            in_hand = [access_rules.c.id.in_(ids), access_rules.c.state == was]
            _change(connection, in_hand, state=now)
    for ids in _chunks(failed):
        in_hand = [
            access_rules.c.id.in_(ids),
            access_rules.c.state.in_(("applying", "updating", "denying")),
        ]
        _change(connection, in_hand, state="error")


def remove_all(connection: Connection, share_id: str) -> None:
    """Forget all rules of a share that is gone."""
    connection.execute(delete(access_rules).where(access_rules.c.share_id == share_id))


def _change(
    connection: Connection, conditions: Iterable[ColumnElement[bool]], **values: Any
) -> None:
    statement = update(access_rules).where(*conditions)
    connection.execute(statement.values(updated_at=utcnow_text(), **values))


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(ids), _CHUNK):
        yield ids[begin : begin + _CHUNK]
