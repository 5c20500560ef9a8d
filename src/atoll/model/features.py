"""What the driver reports that it can do, and what is answered where it can not.

The scheduler compares the extra specs of share types with ``REPORTED``. Views show what it says,
and a handler calls ``check`` of the feature that its request needs, so no refusal is written
elsewhere. Where Manila has a sentence for a refusal, it is Manila's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from atoll.errors import AtollError, Forbidden, Invalid

REPORTED: Final[Mapping[str, Any]] = {
    "snapshot_support": True,
    "create_share_from_snapshot_support": True,
    "revert_to_snapshot_support": False,
    "mount_snapshot_support": False,
    "mount_point_name_support": False,
    "replication_type": None,
    "ipv4_support": True,
    "ipv6_support": True,
    "share_server_multiple_subnet_support": False,
    "security_service_update_support": False,
    "network_allocation_update_support": False,
    "encryption_support": None,
    "qos": False,
    "dedupe": False,
    "compression": False,
}
"""Capabilities by the scheduler's names; each is false until a test shows that it works.

Each pool reports them, and what all pools of the back end have in common: a share type's extra
specs are compared with nothing else.
"""


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that Manila's API has and that a driver may lack."""

    sentence: str
    """Why a request is refused; with names in braces, which ``check`` is given."""
    error: type[AtollError] = Invalid
    capability: str = ""
    """The capability that says whether the driver has it; without one no driver of Atoll has it."""

    @property
    def is_offered(self) -> bool:
        """Whether the driver has it."""
        return bool(REPORTED.get(self.capability))

    def check(self, **names: object) -> None:
        """Raise the refusal unless the driver has it."""
        if not self.is_offered:
            raise self.error(self.sentence.format_map(names))


SHRINK: Final = Feature(
    "Shrinking shares is not supported. Create a smaller share and copy the files."
)
REVERT: Final = Feature(
    "Share {share} may not be reverted to snapshot {snapshot}, because the share does not have "
    "that capability. Create a new share from the snapshot.",
    capability="revert_to_snapshot_support",
)
RECYCLE_BIN: Final = Feature(
    "There is no recycle bin here. Delete the share to remove it for good.", Forbidden
)
UNMANAGE: Final = Feature(
    "Operation 'unmanage' is not supported for shares that are created on top of share servers "
    "(created with share-networks).",
    Forbidden,
)
MIGRATION: Final = Feature("Migrating shares is not supported.")
TASK_STATES: Final = Feature("Task states are those of migrations, which are not supported.")
SECURITY_SERVICES: Final = Feature(
    "Atoll has no security services: shares are protected by their access rules."
)
NOVA_NETWORKS: Final = Feature("nova_net_id can't be used: there is no Nova networking any more.")
SHARE_GROUPS: Final = Feature("Share groups are not supported.")
REPLICATION: Final = Feature("Replication is not supported.", capability="replication_type")
REPLICATED_TYPES: Final = Feature(
    "Invalid extra spec replication_type: Atoll does not replicate shares.",
    capability="replication_type",
)
QUOTAS_OF_GROUPS: Final = Feature("{quota} can only be 0: Atoll has no share groups.")
QUOTAS_OF_REPLICAS: Final = Feature(
    "{quota} can only be 0: Atoll has no share replicas.", capability="replication_type"
)
