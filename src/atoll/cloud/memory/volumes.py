"""Volumes and snapshots of the simulated cloud, with their content."""

from __future__ import annotations

from uuid import uuid4

from atoll.cloud.base import Pool, Volume, VolumeSnapshot
from atoll.cloud.memory.gate import Gate, call
from atoll.cloud.memory.guest import is_frozen
from atoll.cloud.memory.world import Row
from atoll.cloud.things import now_text
from atoll.errors import (
    AtollError,
    CloudError,
    CloudNotFound,
    CloudUnavailable,
    OutOfCapacity,
    VolumeInUse,
)

_VOLUME = "SELECT id, owner, size_gib, instance_id, created_at FROM volumes"
_SNAPSHOT = "SELECT id, owner, volume_id, size_gib, created_at FROM snapshots"


class MemoryVolumes:
    """Implements ``Volumes``. A snapshot or a clone is a copy of the content."""

    port = "volumes"
    unanswered: type[AtollError] = CloudUnavailable

    def __init__(self, gate: Gate, deployment: str) -> None:
        self.gate = gate
        self._world = gate.world
        self._deployment = deployment

    def subject(self) -> str:
        """Return an empty string, because the arguments of each call name what it is about."""
        return ""

    @call
    def create_volume(
        self,
        owner: str,
        size_gib: int,
        *,
        snapshot_id: str | None = None,
        availability_zone: str = "",
    ) -> Volume:
        """Make a blank volume, or one with a snapshot's content, at least as large."""
        made = self._world.row(f"{_VOLUME} WHERE deployment = ? AND owner = ?", *self._of(owner))
        if made:
            return Volume(*made)
        disk: Row = (None, None, None)
        if snapshot_id is not None:
            parent_gib, *disk_state = self._world.row(
                "SELECT size_gib, signature, fs_uuid, fs_gib FROM snapshots WHERE id = ?",
                snapshot_id,
            ) or self._no("snapshot", snapshot_id)
            size_gib, disk = max(size_gib, parent_gib), tuple(disk_state)
        self._check_room(size_gib)
        volume_id = str(uuid4())
        self._world.execute(
            "INSERT INTO volumes (id, deployment, owner, size_gib, signature, fs_uuid, fs_gib,"
            " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            volume_id,
            *self._of(owner),
            size_gib,
            *disk,
            now_text(),
        )
        if snapshot_id is not None:
            self._copy(snapshot_id, volume_id)
        return Volume(volume_id, owner, size_gib)

    @call
    def get_volume(self, volume_id: str) -> Volume | None:
        """The volume, or None when it is gone."""
        row = self._world.row(f"{_VOLUME} WHERE id = ?", volume_id)
        return Volume(*row) if row else None

    @call
    def find_volume(self, owner: str) -> Volume | None:
        """What ``create_volume`` made for this owner."""
        row = self._world.row(f"{_VOLUME} WHERE deployment = ? AND owner = ?", *self._of(owner))
        return Volume(*row) if row else None

    @call
    def list_volumes(self) -> list[Volume]:
        """All volumes of this deployment."""
        rows = self._world.rows(f"{_VOLUME} WHERE deployment = ?", self._deployment)
        return [Volume(*row) for row in rows]

    @call
    def extend_volume(self, volume_id: str, size_gib: int) -> None:
        """Grow it, online when attached; a volume that is already that large is left alone."""
        (present,) = self._world.row(
            "SELECT size_gib FROM volumes WHERE id = ?", volume_id
        ) or self._no("volume", volume_id)
        if size_gib > present:
            self._check_room(size_gib - present)
            self._world.execute("UPDATE volumes SET size_gib = ? WHERE id = ?", size_gib, volume_id)

    @call
    def delete_volume(self, volume_id: str) -> None:
        """Delete it.

        Raises ``VolumeInUse`` while attached. Its snapshots and clones stay usable.
        """
        row = self._world.row("SELECT instance_id FROM volumes WHERE id = ?", volume_id)
        if row and row[0] is not None:
            raise VolumeInUse(f"Volume {volume_id} is attached to instance {row[0]}.")
        self._world.execute("DELETE FROM volumes WHERE id = ?", volume_id)
        self._world.execute("DELETE FROM files WHERE disk_id = ?", volume_id)

    @call
    def create_snapshot(self, owner: str, volume_id: str) -> VolumeSnapshot:
        """Copy the volume as it is now. What a guest has not flushed is not on the volume."""
        made = self._world.row(f"{_SNAPSHOT} WHERE deployment = ? AND owner = ?", *self._of(owner))
        if made:
            return VolumeSnapshot(*made)
        size_gib, *disk = self._world.row(
            "SELECT size_gib, signature, fs_uuid, fs_gib FROM volumes WHERE id = ?", volume_id
        ) or self._no("volume", volume_id)
        self._note_unfrozen(volume_id)
        snapshot_id = str(uuid4())
        self._world.execute(
            "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            snapshot_id,
            *self._of(owner),
            volume_id,
            size_gib,
            *disk,
            now_text(),
        )
        self._copy(volume_id, snapshot_id)
        return VolumeSnapshot(snapshot_id, owner, volume_id, size_gib)

    @call
    def get_snapshot(self, snapshot_id: str) -> VolumeSnapshot | None:
        """The snapshot, or None when it is gone."""
        row = self._world.row(f"{_SNAPSHOT} WHERE id = ?", snapshot_id)
        return VolumeSnapshot(*row) if row else None

    @call
    def find_snapshot(self, owner: str) -> VolumeSnapshot | None:
        """What ``create_snapshot`` made for this owner."""
        row = self._world.row(f"{_SNAPSHOT} WHERE deployment = ? AND owner = ?", *self._of(owner))
        return VolumeSnapshot(*row) if row else None

    @call
    def list_snapshots(self) -> list[VolumeSnapshot]:
        """All volume snapshots of this deployment."""
        rows = self._world.rows(f"{_SNAPSHOT} WHERE deployment = ?", self._deployment)
        return [VolumeSnapshot(*row) for row in rows]

    @call
    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete it. Volumes made from it stay usable."""
        self._world.execute("DELETE FROM snapshots WHERE id = ?", snapshot_id)
        self._world.execute("DELETE FROM files WHERE disk_id = ?", snapshot_id)

    @call
    def pools(self) -> list[Pool]:
        """The current capacity: one pool, which is never over-subscribed."""
        total, allocated = self._capacity()
        return [Pool("memory", total, total - allocated, allocated, thin=False)]

    def _of(self, owner: str) -> tuple[str, str]:
        return self._deployment, owner

    def _capacity(self) -> tuple[float, float]:
        values: dict[str, float] = dict(self._world.rows("SELECT name, value FROM capacity"))
        return values["volumes_gib"], values["allocated_gib"]

    def _check_room(self, more_gib: int) -> None:
        total, allocated = self._capacity()
        if allocated + more_gib > total:
            raise OutOfCapacity(
                f"The simulated cloud has {total - allocated:g} GiB left, not {more_gib}."
            )

    def _copy(self, source: str, target: str) -> None:
        self._world.execute(
            "INSERT INTO files SELECT ?, name, data, 1 FROM files WHERE disk_id = ? AND flushed",
            target,
            source,
        )

    def _note_unfrozen(self, volume_id: str) -> None:
        """Note an accident if a running guest has the file system mounted and not frozen."""
        mounted = self._world.row(
            "SELECT share_id, frozen_until, frozen_by FROM volumes v"
            " JOIN served s ON s.instance_id = v.instance_id AND serial = v.id"
            " JOIN instances i ON i.id = v.instance_id"
            " WHERE v.id = ? AND mounted AND power = 'active' AND NOT hung",
            volume_id,
        )
        if mounted and not is_frozen(mounted[1], mounted[2]):
            self._world.execute(
                "INSERT INTO accidents (deployment, text) VALUES (?, ?)",
                self._deployment,
                f"Volume {volume_id} was copied while share {mounted[0]} was not frozen.",
            )

    def _no(self, kind: str, thing_id: str) -> Row:
        if not thing_id:
            raise CloudError(f"No {kind} was named.")
        raise CloudNotFound(f"There is no {kind} {thing_id}.")
