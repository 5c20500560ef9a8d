"""What becomes of a resource: the states for which it may leave each state.

``docs/reference/states.md`` is generated from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from atoll.model.states import RuleState, ServerStatus, ShareStatus, SnapshotStatus

SHARE_LEAVES_FOR: Final[Mapping[ShareStatus, tuple[ShareStatus, ...]]] = MappingProxyType(
    {
        ShareStatus.CREATING: (ShareStatus.AVAILABLE, ShareStatus.ERROR),
        ShareStatus.CREATING_FROM_SNAPSHOT: (ShareStatus.AVAILABLE, ShareStatus.ERROR),
        ShareStatus.AVAILABLE: (ShareStatus.EXTENDING, ShareStatus.DELETING, ShareStatus.ERROR),
        ShareStatus.EXTENDING: (ShareStatus.AVAILABLE, ShareStatus.EXTENDING_ERROR),
        ShareStatus.EXTENDING_ERROR: (ShareStatus.EXTENDING, ShareStatus.DELETING),
        ShareStatus.DELETING: (ShareStatus.ERROR_DELETING,),
        ShareStatus.ERROR: (
            ShareStatus.CREATING,
            ShareStatus.CREATING_FROM_SNAPSHOT,
            ShareStatus.DELETING,
        ),
        ShareStatus.ERROR_DELETING: (ShareStatus.DELETING,),
        ShareStatus.INACTIVE: (ShareStatus.DELETING,),
    }
)
"""Statuses that a share can get next, other than by an administrator's hand. Those that are not
listed are only ever set by hand. A ``deleting`` share also goes, with its row."""

SHARE_GIVEN_UP_AS: Final[Mapping[ShareStatus, ShareStatus]] = MappingProxyType(
    {
        ShareStatus.CREATING: ShareStatus.ERROR,
        ShareStatus.CREATING_FROM_SNAPSHOT: ShareStatus.ERROR,
        ShareStatus.EXTENDING: ShareStatus.EXTENDING_ERROR,
        ShareStatus.DELETING: ShareStatus.ERROR_DELETING,
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
        ServerStatus.CREATING: (ServerStatus.ACTIVE, ServerStatus.ERROR, ServerStatus.DELETING),
        ServerStatus.ACTIVE: (ServerStatus.CREATING, ServerStatus.DELETING),
        ServerStatus.ERROR: (ServerStatus.CREATING, ServerStatus.DELETING),
        ServerStatus.DELETING: (ServerStatus.ACTIVE, ServerStatus.ERROR),
        ServerStatus.INACTIVE: (ServerStatus.DELETING,),
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
