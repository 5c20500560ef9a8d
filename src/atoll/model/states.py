"""The states of each resource, and the sets of them that decide what may be done.

The names are Manila's, with the text that the API shows. A state says what is wanted of a row
(decision 2): a worker makes what is ``creating`` and removes what is ``deleting``. In Manila, an
administrator can set any status by hand, and that starts no work. Such a status is stored with a
mark behind it (decision 19), so it has a member of its own here (``…_BY_HAND``). No worker and no
query acts on a marked one, and clients see it without the mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Self

_MARK: Final = " (set)"


class Status(StrEnum):
    """What the statuses of shares, snapshots and share servers have in common."""

    @property
    def shown(self) -> str:
        """The text that clients see."""
        return self.value.removesuffix(_MARK)

    @property
    def by_hand(self) -> Self:
        """The status as it is stored when an administrator sets it."""
        marked = self.value + _MARK
        return next((status for status in type(self) if status.value == marked), self)

    @classmethod
    def stored_as(cls, shown: str) -> tuple[Self, ...]:
        """All statuses that clients see as this text; none if there is no such status."""
        return tuple(status for status in cls if status.shown == shown)

    @classmethod
    def settable(cls) -> tuple[str, ...]:
        """The texts of all statuses that an administrator may set: Manila's list."""
        return tuple(status.value for status in cls if status.shown == status.value)


class ShareStatus(Status):
    """Statuses of a share."""

    AVAILABLE = "available"
    CREATING = "creating"
    CREATING_FROM_SNAPSHOT = "creating_from_snapshot"
    DELETING = "deleting"
    DEFERRED_DELETING = "deferred_deleting"
    DELETED = "deleted"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"
    ERROR_DEFERRED_DELETING = "error_deferred_deleting"
    INACTIVE = "inactive"
    MANAGE_STARTING = "manage_starting"
    MANAGE_ERROR = "manage_error"
    UNMANAGE_STARTING = "unmanage_starting"
    MANAGE_ERROR_UNMANAGE_STARTING = "manage_error_unmanage_starting"
    UNMANAGE_ERROR = "unmanage_error"
    UNMANAGED = "unmanaged"
    EXTENDING = "extending"
    EXTENDING_ERROR = "extending_error"
    SHRINKING = "shrinking"
    SHRINKING_ERROR = "shrinking_error"
    SHRINKING_POSSIBLE_DATA_LOSS_ERROR = "shrinking_possible_data_loss_error"
    MIGRATING = "migrating"
    MIGRATING_TO = "migrating_to"
    SERVER_MIGRATING = "server_migrating"
    SERVER_MIGRATING_TO = "server_migrating_to"
    REPLICATION_CHANGE = "replication_change"
    RESTORING = "restoring"
    REVERTING = "reverting"
    REVERTING_ERROR = "reverting_error"
    REVERTING_TO_SNAPSHOT = "reverting_to_snapshot"
    AWAITING_TRANSFER = "awaiting_transfer"
    BACKUP_CREATING = "backup_creating"
    BACKUP_RESTORING = "backup_restoring"
    BACKUP_RESTORING_ERROR = "backup_restoring_error"
    ENSURING = "ensuring"

    CREATING_BY_HAND = "creating" + _MARK
    CREATING_FROM_SNAPSHOT_BY_HAND = "creating_from_snapshot" + _MARK
    EXTENDING_BY_HAND = "extending" + _MARK
    DELETING_BY_HAND = "deleting" + _MARK


class SnapshotStatus(Status):
    """Statuses of a snapshot."""

    AVAILABLE = "available"
    CREATING = "creating"
    DELETING = "deleting"
    ERROR = "error"
    ERROR_DELETING = "error_deleting"
    MANAGE_STARTING = "manage_starting"
    MANAGE_ERROR = "manage_error"
    UNMANAGE_STARTING = "unmanage_starting"
    UNMANAGE_ERROR = "unmanage_error"
    MIGRATING = "migrating"
    MIGRATING_TO = "migrating_to"
    RESTORING = "restoring"

    CREATING_BY_HAND = "creating" + _MARK
    DELETING_BY_HAND = "deleting" + _MARK


class ServerStatus(Status):
    """Statuses of a share server."""

    ACTIVE = "active"
    ERROR = "error"
    DELETING = "deleting"
    CREATING = "creating"
    MANAGE_ERROR = "manage_error"
    MANAGE_STARTING = "manage_starting"
    UNMANAGE_ERROR = "unmanage_error"
    UNMANAGE_STARTING = "unmanage_starting"
    INACTIVE = "inactive"
    SERVER_MIGRATING = "server_migrating"
    SERVER_MIGRATING_TO = "server_migrating_to"
    NETWORK_CHANGE = "network_change"

    CREATING_BY_HAND = "creating" + _MARK
    DELETING_BY_HAND = "deleting" + _MARK


class NetworkStatus(StrEnum):
    """Statuses of a share network. One that is ``deleting`` is hidden from the API."""

    ACTIVE = "active"
    ERROR = "error"
    NETWORK_CHANGE = "network_change"
    DELETING = "deleting"


class RuleState(StrEnum):
    """States of an access rule."""

    QUEUED_TO_APPLY = "queued_to_apply"
    APPLYING = "applying"
    QUEUED_TO_UPDATE = "queued_to_update"
    UPDATING = "updating"
    QUEUED_TO_DENY = "queued_to_deny"
    DENYING = "denying"
    ACTIVE = "active"
    ERROR = "error"


class RulesStatus(StrEnum):
    """A share's ``access_rules_status``, which follows from the states of its rules."""

    ACTIVE = "active"
    SYNCING = "syncing"
    ERROR = "error"


class OperationStatus(StrEnum):
    """Statuses of an operation."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class InstanceStatus(StrEnum):
    """Statuses of a service instance, the same for every cloud."""

    BUILDING = "building"
    ACTIVE = "active"
    STOPPED = "stopped"
    ERROR = "error"


# --- sets of share statuses -----------------------------------------------------------------------

_S = ShareStatus

SHARES_AT_REST: Final = (_S.AVAILABLE, _S.EXTENDING_ERROR)
"""The share is served, and nobody changes it: the pass compares what is with what should be."""

SHARES_SERVED: Final = (_S.AVAILABLE, _S.EXTENDING, _S.EXTENDING_ERROR)
"""Clients have the share mounted, so a new instance must serve it, too."""

SHARES_ASKING_FOR_WORK: Final = (
    _S.CREATING,
    _S.CREATING_FROM_SNAPSHOT,
    _S.EXTENDING,
    _S.DELETING,
)
"""A worker must act. The pass queues an operation for such a share if it has none."""

SHARES_GROWING: Final = (_S.EXTENDING, _S.EXTENDING_ERROR)
"""The share has, or may yet get, its ``wanted_size``."""

GROWTH_CALLED_OFF: Final = (_S.AVAILABLE, _S.ERROR, _S.ERROR_DELETING, _S.INACTIVE)
"""Statuses that an administrator may set while a share is to grow: it then keeps its size."""

DELETABLE_SHARES: Final = (
    _S.AVAILABLE,
    _S.ERROR,
    _S.INACTIVE,
    _S.ERROR_DELETING,
    _S.EXTENDING_ERROR,
)
"""Users may delete the share. An administrator may in every status, by ``force_delete``."""

SHARES_TAKING_RULES: Final = (
    _S.AVAILABLE,
    _S.CREATING,
    _S.CREATING_FROM_SNAPSHOT,
    _S.EXTENDING,
    _S.EXTENDING_ERROR,
)
"""Access rules may be changed."""

# --- sets of other states -------------------------------------------------------------------------

SNAPSHOTS_ASKING_FOR_WORK: Final = (SnapshotStatus.CREATING, SnapshotStatus.DELETING)
DELETABLE_SNAPSHOTS: Final = (
    SnapshotStatus.AVAILABLE,
    SnapshotStatus.ERROR,
    SnapshotStatus.ERROR_DELETING,
)

SERVERS_ASKING_FOR_WORK: Final = (ServerStatus.CREATING, ServerStatus.DELETING)
SERVERS_WITH_A_FUTURE: Final = (ServerStatus.ACTIVE, ServerStatus.CREATING)
"""New shares may be placed on the server."""
DELETABLE_SERVERS: Final = (ServerStatus.ACTIVE, ServerStatus.ERROR, ServerStatus.INACTIVE)

SETTABLE_NETWORK_STATUSES: Final = (
    NetworkStatus.ACTIVE,
    NetworkStatus.ERROR,
    NetworkStatus.NETWORK_CHANGE,
)

RULES_TO_APPLY: Final = (RuleState.QUEUED_TO_APPLY, RuleState.APPLYING)
RULES_TO_UPDATE: Final = (RuleState.QUEUED_TO_UPDATE, RuleState.UPDATING)
RULES_TO_DENY: Final = (RuleState.QUEUED_TO_DENY, RuleState.DENYING)
UNSETTLED_RULES: Final = (*RULES_TO_APPLY, *RULES_TO_UPDATE, *RULES_TO_DENY)
"""A worker must apply, change or deny the rule."""
RULES_SERVED: Final = (RuleState.ACTIVE, *RULES_TO_APPLY, *RULES_TO_UPDATE)
"""The share should be served with the rule."""
RULES_IN_HAND: Final = (RuleState.APPLYING, RuleState.UPDATING, RuleState.DENYING)
"""A worker is applying, changing or denying the rule at the moment."""
RULE_TAKEN_IN_HAND: Final = MappingProxyType(
    {
        RuleState.QUEUED_TO_APPLY: RuleState.APPLYING,
        RuleState.QUEUED_TO_UPDATE: RuleState.UPDATING,
        RuleState.QUEUED_TO_DENY: RuleState.DENYING,
    }
)
"""From a queued state to the one in which a worker has the rule in hand."""

INSTANCES_OFF: Final = (InstanceStatus.STOPPED, InstanceStatus.ERROR)
"""The instance does not run, so nothing in it can answer."""

UNFINISHED_OPERATIONS: Final = (OperationStatus.QUEUED, OperationStatus.RUNNING)

# --- what becomes of a resource -------------------------------------------------------------------

SHARE_LEAVES_FOR: Final[Mapping[ShareStatus, tuple[ShareStatus, ...]]] = MappingProxyType(
    {
        _S.CREATING: (_S.AVAILABLE, _S.ERROR),
        _S.CREATING_FROM_SNAPSHOT: (_S.AVAILABLE, _S.ERROR),
        _S.AVAILABLE: (_S.EXTENDING, _S.DELETING, _S.ERROR),
        _S.EXTENDING: (_S.AVAILABLE, _S.EXTENDING_ERROR),
        _S.EXTENDING_ERROR: (_S.EXTENDING, _S.DELETING),
        _S.DELETING: (_S.ERROR_DELETING,),
        _S.ERROR: (_S.CREATING, _S.CREATING_FROM_SNAPSHOT, _S.DELETING),
        _S.ERROR_DELETING: (_S.DELETING,),
        _S.INACTIVE: (_S.DELETING,),
    }
)
"""Statuses that a share can get next, other than by an administrator's hand. Those that are not
listed are only ever set by hand. A ``deleting`` share also goes, with its row."""

SHARE_GIVEN_UP_AS: Final[Mapping[ShareStatus, ShareStatus]] = MappingProxyType(
    {
        _S.CREATING: _S.ERROR,
        _S.CREATING_FROM_SNAPSHOT: _S.ERROR,
        _S.EXTENDING: _S.EXTENDING_ERROR,
        _S.DELETING: _S.ERROR_DELETING,
    }
)
"""The status when an operation is given up."""

SNAPSHOT_LEAVES_FOR: Final[Mapping[SnapshotStatus, tuple[SnapshotStatus, ...]]] = MappingProxyType(
    {
        SnapshotStatus.CREATING: (SnapshotStatus.AVAILABLE, SnapshotStatus.ERROR),
        SnapshotStatus.AVAILABLE: (SnapshotStatus.DELETING,),
        SnapshotStatus.ERROR: (SnapshotStatus.DELETING,),
        SnapshotStatus.DELETING: (SnapshotStatus.ERROR_DELETING,),
        SnapshotStatus.ERROR_DELETING: (SnapshotStatus.DELETING,),
    }
)

SNAPSHOT_GIVEN_UP_AS: Final[Mapping[SnapshotStatus, SnapshotStatus]] = MappingProxyType(
    {
        SnapshotStatus.CREATING: SnapshotStatus.ERROR,
        SnapshotStatus.DELETING: SnapshotStatus.ERROR_DELETING,
    }
)

SERVER_LEAVES_FOR: Final[Mapping[ServerStatus, tuple[ServerStatus, ...]]] = MappingProxyType(
    {
        ServerStatus.CREATING: (ServerStatus.ACTIVE, ServerStatus.ERROR),
        ServerStatus.ACTIVE: (ServerStatus.CREATING, ServerStatus.DELETING),
        ServerStatus.ERROR: (ServerStatus.CREATING, ServerStatus.DELETING),
        ServerStatus.DELETING: (ServerStatus.ERROR,),
    }
)

RULE_LEAVES_FOR: Final[Mapping[RuleState, tuple[RuleState, ...]]] = MappingProxyType(
    {
        RuleState.QUEUED_TO_APPLY: (RuleState.APPLYING, RuleState.QUEUED_TO_DENY),
        RuleState.APPLYING: (RuleState.ACTIVE, RuleState.ERROR, RuleState.QUEUED_TO_DENY),
        RuleState.QUEUED_TO_UPDATE: (RuleState.UPDATING, RuleState.QUEUED_TO_DENY),
        RuleState.UPDATING: (RuleState.ACTIVE, RuleState.ERROR, RuleState.QUEUED_TO_DENY),
        RuleState.ACTIVE: (RuleState.QUEUED_TO_UPDATE, RuleState.QUEUED_TO_DENY),
        RuleState.QUEUED_TO_DENY: (RuleState.DENYING,),
        RuleState.DENYING: (RuleState.ERROR,),
        RuleState.ERROR: (RuleState.QUEUED_TO_DENY,),
    }
)
