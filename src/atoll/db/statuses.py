"""Statuses that an administrator sets by hand.

A status says what is wanted of a row: a worker makes what is ``creating``, and removes what is
``deleting``. In Manila, an administrator can set any status, and that starts no work. So a status
that asks for work is stored with a mark when it is set by hand. Workers and the reconcile pass do
nothing for a status with a mark, and clients see it without the mark.
"""

from __future__ import annotations

from typing import Final

_MARK: Final = " (set)"
_ASKS_FOR_WORK: Final = frozenset({"creating", "creating_from_snapshot", "extending", "deleting"})

OF_SHARES: Final = (
    "available",
    "creating",
    "creating_from_snapshot",
    "deleting",
    "deferred_deleting",
    "deleted",
    "error",
    "error_deleting",
    "error_deferred_deleting",
    "inactive",
    "manage_starting",
    "manage_error",
    "unmanage_starting",
    "manage_error_unmanage_starting",
    "unmanage_error",
    "unmanaged",
    "extending",
    "extending_error",
    "shrinking",
    "shrinking_error",
    "shrinking_possible_data_loss_error",
    "migrating",
    "migrating_to",
    "server_migrating",
    "server_migrating_to",
    "replication_change",
    "restoring",
    "reverting",
    "reverting_error",
    "reverting_to_snapshot",
    "awaiting_transfer",
    "backup_creating",
    "backup_restoring",
    "backup_restoring_error",
    "ensuring",
)
"""The statuses that can be set on a share: Manila's list."""

OF_SNAPSHOTS: Final = (
    "available",
    "creating",
    "deleting",
    "error",
    "error_deleting",
    "manage_starting",
    "manage_error",
    "unmanage_starting",
    "unmanage_error",
    "migrating",
    "migrating_to",
    "restoring",
)
"""The same for a snapshot."""

OF_SHARE_SERVERS: Final = (
    "active",
    "error",
    "deleting",
    "creating",
    "manage_error",
    "manage_starting",
    "unmanage_error",
    "unmanage_starting",
    "inactive",
    "server_migrating",
    "server_migrating_to",
    "network_change",
)
"""The same for a share server."""


def by_hand(status: str) -> str:
    """The status as it is stored when an administrator sets it."""
    return status + _MARK if status in _ASKS_FOR_WORK else status


def shown(status: str) -> str:
    """A stored status as clients see it."""
    return status.removesuffix(_MARK)


def stored(status: str) -> tuple[str, ...]:
    """All forms in which a status that clients see is stored."""
    return (status, status + _MARK) if status in _ASKS_FOR_WORK else (status,)
