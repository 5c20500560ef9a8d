"""Keeping volumes' chains of layers short while their instances run.

A layer that no snapshot needs any more is merged with the one on top of it. QEMU does this while
the instance runs, and copies only the upper layer's data down (block commit). Only a pair below the
head is merged, so the file that is written to stays the same and a crash leaves no doubt about it.
During and after the merge, both files read the same, because the upper one covers exactly what was
copied. So nothing has to be finished after a crash, which only costs space until the snapshot is
deleted.

A chain is thus at most as long as the volume has snapshots, plus two, plus its parent's. Volumes
that are not attached are left as they are until they are attached.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from atoll.cloud.local.domains import Domains
from atoll.cloud.local.layers import Layers
from atoll.cloud.local.records import Records
from atoll.cloud.local.volume_records import SnapshotRecord, VolumeRecord
from atoll.errors import CloudError, CloudNotFound

log = structlog.get_logger(__name__)

REST_SECONDS = 1.0
"""Seconds from a deletion to the check of all volumes, so that many deletions need one check.
"""
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Pair:
    """Two neighbours in a chain. ``child`` is the layer on top of both."""

    child: str
    upper: str
    lower: str


def mergeable(chain: list[str], needed: set[str], children: Counter[str]) -> Pair | None:
    """The lowest pair of a chain (head first) that may become one layer.

    No record may need the lower layer, and nothing outside this chain may be based on either.
    """
    for child, upper, lower in reversed(list(zip(chain, chain[1:], chain[2:], strict=False))):
        if lower not in needed and children[lower] == 1 and children[upper] == 1:
            return Pair(child, upper, lower)
    return None


class Merger:
    """Merges what can be merged, in a thread of its own."""

    def __init__(
        self,
        volumes: Records[VolumeRecord],
        snapshots: Records[SnapshotRecord],
        layers: Layers,
        domains: Domains,
        collect: Callable[[], object],
    ) -> None:
        self._volumes = volumes
        self._snapshots = snapshots
        self._layers = layers
        self._domains = domains
        self._collect = collect
        self._lock = threading.Lock()
        self._wanted = self._busy = False
        self._closed = threading.Event()

    def later(self) -> None:
        """Check all volumes soon, because something was deleted. It returns at once."""
        with self._lock:
            self._wanted = True
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name="merge layers", daemon=True).start()

    def _work(self) -> None:
        while not self._closed.wait(REST_SECONDS):
            with self._lock:
                if not self._wanted:
                    self._busy = False
                    return
                self._wanted = False
            try:
                for volume in self._volumes.list():
                    if volume.instance_id and len(self._layers.chain(volume.head)) > 2:
                        self.shorten(volume.id)
            except (CloudError, OSError) as error:
                # Nothing depends on a merge, and the next deletion tries again.
                log.info("layers were not merged", error=str(error))

    def close(self) -> None:
        """Begin no more merges. What QEMU is merging continues by itself."""
        self._closed.set()

    def shorten(self, volume_id: str) -> int:
        """Merge until nothing can be merged, and return how many layers that has removed."""
        count = 0
        while (pair := self._start(volume_id)) is not None:
            instance_id = self._volumes.expect(volume_id).instance_id
            while self._domains.is_merging(instance_id, volume_id):
                if self._closed.wait(_POLL_SECONDS):
                    return count
            if self._layers.base(pair.child) != pair.lower:
                break  # it was cancelled, for example by a new snapshot
            self._finish(pair)
            self._collect()
            count += 1
        return count

    def _start(self, volume_id: str) -> Pair | None:
        try:
            with self._volumes.locked(volume_id) as volume:
                if volume.pending or volume.id not in self._domains.disks(volume.instance_id):
                    return None
                chain = self._layers.chain(volume.head)
                pair = mergeable(chain, self._needed(), self._layers.children())
                if pair is None or not self._domains.running(volume.instance_id):
                    return None
                upper, lower = self._layers.path(pair.upper), self._layers.path(pair.lower)
                self._domains.merge(volume.instance_id, volume_id, upper, lower)
                return pair
        except CloudNotFound:
            return None

    def _needed(self) -> set[str]:
        bases = {volume.base for volume in self._volumes.list()}
        return bases | {snapshot.layer for snapshot in self._snapshots.list()}

    def _finish(self, pair: Pair) -> None:
        """Let snapshots of the upper layer, on which nothing is based now, use the lower one."""
        for snapshot in self._snapshots.list():
            if snapshot.layer == pair.upper:
                try:
                    with self._snapshots.locked(snapshot.id) as current:
                        self._snapshots.put(replace(current, layer=pair.lower))
                except CloudNotFound:
                    continue
