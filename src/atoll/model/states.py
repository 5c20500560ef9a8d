"""The states of each resource, and the sets of them that decide what may be done.

The names are Manila's, with the text that the API shows. A state says what is wanted of a row
(decision 2): a worker makes what is ``creating`` and removes what is ``deleting``. In Manila, an
administrator can set any status by hand, and that starts no work. Such a status is stored with a
mark behind it (decision 19), so it has a member of its own here (``…_BY_HAND``). No worker and no
query acts on a marked one, and clients see it without the mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Final, Self

_MARK: Final = " (set)"


class Status(StrEnum):
    """What the statuses of shares, snapshots and share servers have in common."""

    shown: str
    """The text that clients see."""

    def __init__(self, text: str) -> None:
        self.shown = text.removesuffix(_MARK)

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

    @classmethod
    def by_shown(cls) -> Mapping[str, Self]:
        """The texts that an administrator may set, with the status that is stored for each."""
        return {shown: cls(shown).by_hand for shown in cls.settable()}


class FileSystemState(StrEnum):
    """What an instance finds of a share's file system."""

    SOUND = auto()
    ERRORS = auto()
    """ext4 has counted errors, and is still read and written."""
    READ_ONLY = auto()
    """ext4 has met an error, and refuses writes from then on."""
    SHUT_DOWN = auto()
    """XFS has met an error, and refuses reads and writes from then on."""


class ShareStatus(Status):
    """Statuses of a share."""

    AVAILABLE = "available"
    """The share is served, and clients can mount it."""
    CREATING = "creating"
    """The share was asked for and is not served yet."""
    CREATING_FROM_SNAPSHOT = "creating_from_snapshot"
    """The same, for a share that is made from a snapshot."""
    DELETING = "deleting"
    """The share is being removed with its data."""
    DEFERRED_DELETING = "deferred_deleting"
    DELETED = "deleted"
    ERROR = "error"
    """The share could not be made, or an administrator has set this status."""
    ERROR_DELETING = "error_deleting"
    """The share could not be removed. It can be deleted again."""
    ERROR_DEFERRED_DELETING = "error_deferred_deleting"
    INACTIVE = "inactive"
    """An administrator has set this status."""
    MANAGE_STARTING = "manage_starting"
    MANAGE_ERROR = "manage_error"
    UNMANAGE_STARTING = "unmanage_starting"
    MANAGE_ERROR_UNMANAGE_STARTING = "manage_error_unmanage_starting"
    UNMANAGE_ERROR = "unmanage_error"
    UNMANAGED = "unmanaged"
    EXTENDING = "extending"
    """A larger size was asked for. The share is served meanwhile."""
    EXTENDING_ERROR = "extending_error"
    """The share is served, and did not reach the size that was asked for."""
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
    """The snapshot was taken. Shares can be made from it."""
    CREATING = "creating"
    """The snapshot was asked for and is not taken yet."""
    DELETING = "deleting"
    """The snapshot is being removed."""
    ERROR = "error"
    """The snapshot could not be taken, or an administrator has set this status."""
    ERROR_DELETING = "error_deleting"
    """The snapshot could not be removed. It can be deleted again."""
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
    """The service instance serves. While it does not answer, the status stays the same."""
    ERROR = "error"
    """The service instance could not be made, or not be removed."""
    DELETING = "deleting"
    """The service instance is being removed."""
    CREATING = "creating"
    """The service instance is being made, or gets its interface in a share network."""
    MANAGE_ERROR = "manage_error"
    MANAGE_STARTING = "manage_starting"
    UNMANAGE_ERROR = "unmanage_error"
    UNMANAGE_STARTING = "unmanage_starting"
    INACTIVE = "inactive"
    """The service instance serves the shares of another server, or boots to do so. An administrator
    can set this status, too."""
    SERVER_MIGRATING = "server_migrating"
    SERVER_MIGRATING_TO = "server_migrating_to"
    NETWORK_CHANGE = "network_change"

    CREATING_BY_HAND = "creating" + _MARK
    DELETING_BY_HAND = "deleting" + _MARK


class NetworkStatus(StrEnum):
    """Statuses of a share network. One that is ``deleting`` is hidden from the API."""

    ACTIVE = "active"
    """The share network can be used, also before its network is made."""
    ERROR = "error"
    """A network of it could not be made, or not be removed."""
    NETWORK_CHANGE = "network_change"
    """An administrator has set this status."""
    DELETING = "deleting"
    """The share network is being removed. The API does not show it any more."""


class RuleState(StrEnum):
    """States of an access rule."""

    QUEUED_TO_APPLY = "queued_to_apply"
    """The rule was asked for."""
    APPLYING = "applying"
    """A worker is applying the rule."""
    QUEUED_TO_UPDATE = "queued_to_update"
    """The rule is to be changed. No request of the API asks for this yet."""
    UPDATING = "updating"
    """A worker is changing the rule."""
    QUEUED_TO_DENY = "queued_to_deny"
    """The rule is to be taken away."""
    DENYING = "denying"
    """A worker is taking the rule away."""
    ACTIVE = "active"
    """Clients that the rule names can mount the share."""
    ERROR = "error"
    """The rule could not be applied, or not be taken away."""


class RulesStatus(StrEnum):
    """A share's ``access_rules_status``, which follows from the states of its rules."""

    ACTIVE = "active"
    """All rules are ``active``, or there are none."""
    SYNCING = "syncing"
    """A rule is neither ``active`` nor in ``error`` yet."""
    ERROR = "error"
    """A rule is in ``error``, and no rule is unsettled."""


class OperationStatus(StrEnum):
    """Statuses of an operation."""

    QUEUED = "queued"
    """The operation waits for a worker, for its time, or for another resource."""
    RUNNING = "running"
    """A worker, the ``owner``, holds the operation until its lease ends."""
    DONE = "done"
    """The operation has ended well."""
    FAILED = "failed"
    """The operation was given up."""


class InstanceStatus(StrEnum):
    """Statuses of a service instance, the same for every cloud."""

    BUILDING = "building"
    """The instance is made or rebooted, and does not run yet."""
    ACTIVE = "active"
    """The instance runs."""
    STOPPED = "stopped"
    """The instance does not run, and can be started."""
    ERROR = "error"
    """The cloud could not make, keep or change the instance. It may run all the same."""


class FencingState(StrEnum):
    """Whether a service instance has ended, so that its volumes may go to another."""

    PROVED = "proved"
    """The instance does not run, and can't start again."""
    POSSIBLE = "possible"
    """The instance may run. The cloud can end it, and prove that."""
    DOUBTFUL = "doubtful"
    """The instance may run, and the cloud can neither reach it nor prove that it has ended."""


# --- sets of share statuses -----------------------------------------------------------------------

_S = ShareStatus

SHARES_AT_REST: Final = (_S.AVAILABLE, _S.EXTENDING_ERROR)
"""The share is served and is not being changed. The pass compares it with its row."""

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
"""A worker must act. The pass queues an operation for such a snapshot if it has none."""
DELETABLE_SNAPSHOTS: Final = (
    SnapshotStatus.AVAILABLE,
    SnapshotStatus.ERROR,
    SnapshotStatus.ERROR_DELETING,
)
"""Users may delete the snapshot. An administrator may in every status, by ``force_delete``."""

SERVERS_ASKING_FOR_WORK: Final = (ServerStatus.CREATING, ServerStatus.DELETING)
"""A worker must act. The pass queues an operation for such a server if it has none."""
SERVERS_WITH_A_FUTURE: Final = (ServerStatus.ACTIVE, ServerStatus.CREATING)
"""New shares may be placed on the server."""
DELETABLE_SERVERS: Final = (ServerStatus.ACTIVE, ServerStatus.ERROR, ServerStatus.INACTIVE)
"""An administrator may delete the server, while no share is on it."""

SETTABLE_NETWORK_STATUSES: Final = (
    NetworkStatus.ACTIVE,
    NetworkStatus.ERROR,
    NetworkStatus.NETWORK_CHANGE,
)
"""An administrator may set the status by hand."""

RULES_TO_APPLY: Final = (RuleState.QUEUED_TO_APPLY, RuleState.APPLYING)
"""The rule is new and not applied yet."""
RULES_TO_UPDATE: Final = (RuleState.QUEUED_TO_UPDATE, RuleState.UPDATING)
"""The level of the rule is to be changed."""
RULES_TO_DENY: Final = (RuleState.QUEUED_TO_DENY, RuleState.DENYING)
"""The rule is to be taken away. Another rule for the same client can't be added before."""
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

UNFINISHED_OPERATIONS: Final = (OperationStatus.QUEUED, OperationStatus.RUNNING)
"""The operation is active. A resource has at most one such operation."""
