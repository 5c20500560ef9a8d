"""The records of volumes and snapshots."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """The record of a volume."""

    id: str
    owner: str
    size_gib: int
    head: str
    base: str = ""
    """The snapshot's layer that its first head is based on, until that head is made."""
    pending: str = ""
    """The head that it is being switched to."""
    making: bool = False
    """Whether its first head is still being made, so that it has never held data."""
    instance_id: str = ""
    """The instance that has claimed it: set before it is attached, cleared after it is detached."""
    created_at: str = ""
    """UTC, ISO 8601; empty if an older version made it."""


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """The record of a snapshot. Its ``layer`` is final when it is ``ready``."""

    id: str
    owner: str
    volume_id: str
    size_gib: int
    layer: str
    ready: bool = False
    created_at: str = ""
    """UTC, ISO 8601; empty if an older version made it."""
