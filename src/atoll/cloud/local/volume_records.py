"""What is written down about volumes and snapshots."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A volume."""

    id: str
    owner: str
    size_gib: int
    head: str
    base: str = ""
    """The snapshot's layer that its first head is being made on; empty once that stands."""
    pending: str = ""
    """The head that it is just changing to."""
    making: bool = False
    """Whether its first head is still being made: it has never held data."""
    instance_id: str = ""
    """Who has claimed it; written before it is attached, cleared after it is detached."""


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A snapshot; ``layer`` is settled when it is ``ready``."""

    id: str
    owner: str
    volume_id: str
    size_gib: int
    layer: str
    ready: bool = False
