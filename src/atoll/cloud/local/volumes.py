"""Volumes and their snapshots: records that point at layers (``layers.py``).

A snapshot of a volume in use is the critical step: QEMU switches to a new head, and after that the
old one must never be written to again, even if the worker dies at this moment. Therefore the new
head is in the record (``pending``) before QEMU is told of it. A worker that finds a pending head
asks QEMU, if one runs, which of the two it writes into. If none runs, the pending one is right in
any case: it has everything that was written after the switch or, without a switch, only its base.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from atoll.cloud.base import Pool, Volume, VolumeSnapshot
from atoll.cloud.local.domains import Domains
from atoll.cloud.local.layers import GIB, Layers
from atoll.cloud.local.merge import Merger
from atoll.cloud.local.records import Records, locked
from atoll.cloud.local.volume_records import SnapshotRecord, VolumeRecord
from atoll.cloud.things import now_text
from atoll.errors import CloudError, CloudNotFound, OutOfCapacity, VolumeInUse

POOL = "local"


@dataclass(frozen=True, slots=True)
class Capacity:
    """The limit of all volumes' sizes, and the space that must stay free on the disk, in GiB."""

    reserved_gib: float
    over_subscription: float


class LocalVolumes:
    """Implements ``Volumes``."""

    def __init__(
        self, directory: Path, layers: Layers, domains: Domains, capacity: Capacity
    ) -> None:
        self.records = Records(directory / "volumes", VolumeRecord)
        self.snapshot_records = Records(directory / "snapshots", SnapshotRecord)
        self.layers = layers
        self._domains = domains
        self._capacity = capacity
        self._merger = Merger(self.records, self.snapshot_records, layers, domains, self.collect)

    def create_volume(
        self,
        owner: str,
        size_gib: int,
        *,
        snapshot_id: str | None = None,
        availability_zone: str = "",
    ) -> Volume:
        """Make a blank volume, or one with a snapshot's content, at least as large."""
        if snapshot_id is None:
            return self._create(owner, size_gib, "")
        # The snapshot is locked, so that its layer stays until the new layer is based on it.
        with self.snapshot_records.locked(snapshot_id) as snapshot:
            return self._create(owner, max(size_gib, snapshot.size_gib), snapshot.layer)

    def _create(self, owner: str, size_gib: int, base: str) -> Volume:
        def new() -> VolumeRecord:
            self._check_room(size_gib)
            return VolumeRecord(
                str(uuid4()),
                owner,
                size_gib,
                head=str(uuid4()),
                base=base,
                making=True,
                created_at=now_text(),
            )

        found = self.records.find_or_create(lambda record: record.owner == owner, new)
        with self.records.locked(found.id) as record:
            if not (record.making or record.base):
                self._check_whole(record)
                return self._volume(record)
            try:
                self.layers.create(record.head, record.size_gib, record.base)
            except CloudError:
                self.records.delete(record.id)
                raise
            self.records.put(replace(record, base="", making=False))
        return self._volume(found)

    def _check_whole(self, record: VolumeRecord) -> None:
        """Raise ``CloudError`` if one of its files is missing, instead of making it again."""
        missing = [
            layer for layer in self.layers.chain(record.head) if not self.layers.exists(layer)
        ]
        if missing:
            raise CloudError(
                f"The file {self.layers.path(missing[0])} of the volume {record.id} is missing.",
                hint="Restore the file, or mount the file system that it is on.",
            )

    def get_volume(self, volume_id: str) -> Volume | None:
        """The volume, or None when it is gone."""
        record = self.records.get(volume_id)
        return self._volume(record) if record else None

    def find_volume(self, owner: str) -> Volume | None:
        """What ``create_volume`` made for this owner."""
        record = self.records.find(lambda record: record.owner == owner)
        return self._volume(record) if record else None

    def list_volumes(self) -> list[Volume]:
        """All volumes of this deployment."""
        records = self.records.list()
        claimed = {record.instance_id for record in records if record.instance_id}
        plugged = {instance_id: self._domains.disks(instance_id) for instance_id in claimed}
        return [
            _volume(r, r.instance_id if r.id in plugged.get(r.instance_id, {}) else None)
            for r in records
        ]

    def extend_volume(self, volume_id: str, size_gib: int) -> None:
        """Grow it, online when attached; a volume that is already that large is left alone."""
        with self.settled(volume_id) as record:
            if size_gib <= record.size_gib:
                return
            self._check_room(size_gib - record.size_gib)
            with self._domains.held(record.instance_id):
                if self.is_live(record):
                    self._domains.resize_disk(record.instance_id, volume_id, size_gib * GIB)
                else:
                    self.layers.resize(record.head, size_gib)
            self.records.put(replace(record, size_gib=size_gib))

    def delete_volume(self, volume_id: str) -> None:
        """Delete it.

        Raises ``VolumeInUse`` while attached. Its snapshots and clones stay usable.
        """
        try:
            with self.records.locked(volume_id) as record:
                if self.is_attached(record):
                    raise VolumeInUse(f"Volume {volume_id} is attached to {record.instance_id}.")
                # The record is removed last, because after a crash it shows that there is work
                # left.
                self.collect(leaving=volume_id)
                self.records.delete(volume_id)
        except CloudNotFound:
            return
        self._merger.later()

    def create_snapshot(self, owner: str, volume_id: str) -> VolumeSnapshot:
        """Copy the volume as it is now, attached or not."""
        made = self._find_snapshot(owner)
        if made is not None:
            return _snapshot(made)
        self._check_room(0)
        with self.settled(volume_id) as volume:
            found = self.snapshot_records.find_or_create(
                lambda record: record.owner == owner,
                lambda: SnapshotRecord(
                    str(uuid4()),
                    owner,
                    volume_id,
                    volume.size_gib,
                    volume.head,
                    created_at=now_text(),
                ),
            )
            # An earlier try that was interrupted may have recorded an earlier head.
            record = replace(found, layer=volume.head, size_gib=volume.size_gib)
            self.snapshot_records.put(record)
            try:
                self._change_head(volume)
            except CloudError:
                self.snapshot_records.delete(record.id)
                raise
            return _snapshot(self.snapshot_records.put(replace(record, ready=True)))

    def _change_head(self, volume: VolumeRecord) -> None:
        volume = self.records.put(replace(volume, pending=str(uuid4())))
        self.layers.create(volume.pending, volume.size_gib, volume.head)
        # A stopped instance reads its volumes' heads from the records when it starts, so it must
        # not start now.
        with self._domains.held(volume.instance_id):
            if self.is_live(volume):
                fresh = self.layers.path(volume.pending)
                self._domains.switch_disk(volume.instance_id, volume.id, fresh)
            self.records.put(replace(volume, head=volume.pending, pending=""))

    def get_snapshot(self, snapshot_id: str) -> VolumeSnapshot | None:
        """The snapshot, or None when it is gone."""
        record = self.snapshot_records.get(snapshot_id)
        return _snapshot(record) if record and record.ready else None

    def find_snapshot(self, owner: str) -> VolumeSnapshot | None:
        """What ``create_snapshot`` made for this owner."""
        record = self._find_snapshot(owner)
        return _snapshot(record) if record else None

    def list_snapshots(self) -> list[VolumeSnapshot]:
        """All volume snapshots of this deployment, including those that are half made."""
        return [_snapshot(record) for record in self.snapshot_records.list()]

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete it. Volumes made from it stay usable."""
        try:
            with self.snapshot_records.locked(snapshot_id):
                # Layers are removed before the record, as for volumes.
                self.collect(leaving=snapshot_id)
                self.snapshot_records.delete(snapshot_id)
        except CloudNotFound:
            return
        self._merger.later()

    def pools(self) -> list[Pool]:
        """The current capacity."""
        room = os.statvfs(self.layers.directory)
        total, free = room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize
        promised = sum(record.size_gib for record in self.records.list())
        return [Pool(POOL, total / GIB, free / GIB, promised)]

    @contextmanager
    def settled(self, volume_id: str) -> Iterator[VolumeRecord]:
        """Lock a volume and settle which head it has. Raises ``CloudNotFound``."""
        with self.records.locked(volume_id) as record:
            yield self._settle(record)

    def head_path(self, record: VolumeRecord) -> Path:
        """The file to attach if no QEMU has the volume, as the module's docstring explains."""
        made = record.pending and self.layers.exists(record.pending)
        return self.layers.path(record.pending if made else record.head)

    def claim(self, record: VolumeRecord, instance_id: str) -> VolumeRecord:
        """Record the instance that will have it.

        Raises ``VolumeInUse`` if another instance has it.
        """
        if record.instance_id not in ("", instance_id) and self.is_attached(record):
            raise VolumeInUse(f"Volume {record.id} is attached to {record.instance_id}.")
        return self.records.put(replace(record, instance_id=instance_id))

    def release(self, record: VolumeRecord) -> None:
        """Record that no instance has it any more."""
        self.records.put(replace(record, instance_id=""))

    def is_attached(self, record: VolumeRecord) -> bool:
        """Whether the instance that claimed it has it, whether it runs or not."""
        return bool(record.instance_id) and record.id in self._domains.disks(record.instance_id)

    def is_live(self, record: VolumeRecord) -> bool:
        """Whether a QEMU has it open."""
        return self.is_attached(record) and self._domains.running(record.instance_id)

    def claimed_by(self, instance_id: str) -> list[VolumeRecord]:
        """The volumes that an instance has, or that are being attached or detached."""
        return [record for record in self.records.list() if record.instance_id == instance_id]

    def collect(self, leaving: str = "") -> list[str]:
        """Remove layers that no record needs, except perhaps ``leaving``, which is about to go."""
        with locked(self.layers.directory):
            return self.layers.collect(lambda: self._reached(leaving))

    def close(self) -> None:
        """Stop the work in the background."""
        self._merger.close()

    def _reached(self, leaving: str) -> Iterator[str]:
        for snapshot in self.snapshot_records.list():
            if snapshot.id != leaving:
                yield snapshot.layer
        for volume in self.records.list():
            if volume.id != leaving:
                yield from (volume.head, volume.pending, volume.base)

    def _settle(self, record: VolumeRecord) -> VolumeRecord:
        head = record.head
        if record.pending:
            live = self.is_live(record)
            disks = self._domains.disks(record.instance_id) if live else {}
            path = disks[record.id].path if live else self.head_path(record)
            head = self.layers.layer(path)
        # A worker may have grown it and died before recording that, and a new head must not be
        # smaller.
        size_gib = max(record.size_gib, self.layers.size_gib(head))
        settled = replace(record, head=head, pending="", size_gib=size_gib)
        return record if settled == record else self.records.put(settled)

    def _volume(self, record: VolumeRecord) -> Volume:
        instance_id = record.instance_id if self.is_attached(record) else None
        return _volume(record, instance_id)

    def _find_snapshot(self, owner: str) -> SnapshotRecord | None:
        return self.snapshot_records.find(lambda record: record.owner == owner and record.ready)

    def has_room(self) -> bool:
        """Whether the host's disk has more free space than its reserve."""
        return self.pools()[0].free_gib >= self._capacity.reserved_gib

    def _check_room(self, more_gib: float) -> None:
        (pool,) = self.pools()
        if pool.free_gib < self._capacity.reserved_gib:
            raise OutOfCapacity(
                f"The host's disk has {pool.free_gib:.1f} GiB left, and"
                f" {self._capacity.reserved_gib:g} GiB stay reserved."
            )
        limit = pool.total_gib * self._capacity.over_subscription
        if pool.allocated_gib + more_gib > limit:
            raise OutOfCapacity(
                f"{pool.allocated_gib:.0f} of at most {limit:.0f} GiB are promised to volumes;"
                f" {more_gib:g} more do not fit."
            )


def _volume(record: VolumeRecord, instance_id: str | None) -> Volume:
    return Volume(record.id, record.owner, record.size_gib, instance_id, record.created_at)


def _snapshot(record: SnapshotRecord) -> VolumeSnapshot:
    return VolumeSnapshot(
        record.id, record.owner, record.volume_id, record.size_gib, record.created_at
    )
