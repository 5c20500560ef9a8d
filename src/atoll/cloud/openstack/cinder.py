"""What Cinder's answers mean: marks, statuses and sizes of volumes and snapshots."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import Final

from atoll.cloud.base import Pool, Volume, VolumeSnapshot
from atoll.cloud.openstack.api import Json, part
from atoll.errors import CloudError, VolumeInUse

DEPLOYMENT, OWNER, MAKING = "atoll_deployment", "atoll_owner", "atoll_making"
"""Keys of metadata: the deployment, the owner, and the mark of what is still being made."""


class VolumeStatus(StrEnum):
    """Cinder's words for the status of a volume or, as far as they apply, of a snapshot."""

    CREATING = auto()
    DOWNLOADING = auto()
    AVAILABLE = auto()
    RESERVED = auto()
    ATTACHING = auto()
    IN_USE = "in-use"
    DETACHING = auto()
    EXTENDING = auto()
    UPLOADING = auto()
    BACKING_UP = "backing-up"
    RETYPING = auto()
    DELETING = auto()
    ERROR = auto()
    ERROR_ATTACHING = auto()
    ERROR_EXTENDING = auto()
    ERROR_DELETING = auto()


class AttachmentStatus(StrEnum):
    """Cinder's word for an attachment that is complete."""

    ATTACHED = auto()


CHANGING: Final = frozenset(
    {
        VolumeStatus.CREATING,
        VolumeStatus.DOWNLOADING,
        VolumeStatus.EXTENDING,
        VolumeStatus.UPLOADING,
        VolumeStatus.BACKING_UP,
        VolumeStatus.RETYPING,
    }
)
"""Cinder is making or changing the volume and refuses another change."""
PLUGGING: Final = frozenset({VolumeStatus.RESERVED, VolumeStatus.ATTACHING, VolumeStatus.DETACHING})
"""The volume is being attached to an instance or detached from one."""
UNPLUGGED: Final = frozenset(
    {VolumeStatus.AVAILABLE, VolumeStatus.ERROR, VolumeStatus.ERROR_ATTACHING}
)
"""No instance has the volume, and none is about to get it."""


def id_of(answer: Json, key: str) -> str:
    """The id of the resource that the answer says was made."""
    return str(part(answer, key).get("id"))


def is_new(thing: Json) -> bool:
    """Whether it is still being made, and so has never held data."""
    return MAKING in thing["metadata"]


def is_in_error(thing: Json) -> bool:
    """Whether it is in one of Cinder's error statuses, those that Atoll doesn't know included."""
    return str(thing["status"]).startswith(VolumeStatus.ERROR)


def in_error(kind: str, thing: Json) -> CloudError:
    """The error for a thing that Cinder shows in an error state."""
    return CloudError(
        f"Cinder shows the {kind} {thing['id']} as {thing['status']!r}.",
        hint="Its data may be intact: see Cinder's log, and reset its state after the repair.",
    )


def is_deleted(thing: Json | None) -> bool:
    """Whether it is gone. Raises an error if Cinder could not delete it."""
    if thing is None:
        return True
    if thing["status"] == VolumeStatus.AVAILABLE:  # Cinder accepted the request and gave up
        raise VolumeInUse(
            f"Cinder keeps {thing['id']}: volumes that were made from it still need it.",
            hint="Some back ends copy nothing (Ceph): delete those shares first.",
            public="Shares that were made from it still need it. Delete those first.",
        )
    if thing["status"] == VolumeStatus.ERROR_DELETING:
        raise CloudError(f"Cinder could not delete {thing['id']}.", hint="See Cinder's log.")
    return False


def volume_of(found: Json) -> Volume:
    """A volume as Cinder describes it."""
    attachments = found["attachments"]
    return Volume(
        found["id"],
        found["metadata"].get(OWNER, ""),
        found["size"],
        attachments[0]["server_id"] if attachments else None,
        _created_at(found),
    )


def snapshot_of(found: Json) -> VolumeSnapshot:
    """A snapshot as Cinder describes it."""
    return VolumeSnapshot(
        found["id"],
        found["metadata"].get(OWNER, ""),
        found["volume_id"],
        found["size"],
        _created_at(found),
    )


def _created_at(found: Json) -> str:
    return str(found.get("created_at") or "").partition(".")[0]


def pool_of(name: str, capabilities: Json) -> Pool:
    """A pool as Cinder's scheduler describes it."""

    def number(key: str) -> float:
        value = capabilities.get(key)
        if isinstance(value, int | float):
            return float(value)
        return float("inf") if value in ("infinite", "unknown") else 0.0

    total, free = number("total_capacity_gb"), number("free_capacity_gb")
    promised = max(number("provisioned_capacity_gb"), number("allocated_capacity_gb"))
    thin = bool(capabilities.get("thin_provisioning_support", False))
    return Pool(name, total, free, promised, thin)
