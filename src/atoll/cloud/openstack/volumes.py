"""Share volumes and their snapshots in Cinder.

Each has its deployment and its owner in its metadata, which lists can be filtered by. Growing a
volume that is in use needs microversion 3.42.

While one is being made it also has the mark ``atoll_making``, which is removed before it is used. A
volume or snapshot with the mark has therefore never held data, and is deleted and made again if it
could not be made. One without the mark that Cinder shows in ``error`` may hold a user's data
(perhaps an administrator only has to reset its status), so it is deleted only on request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from atoll.cloud.base import Pool, Volume, VolumeSnapshot
from atoll.cloud.openstack import shapes
from atoll.cloud.openstack.api import Api, Json, part
from atoll.cloud.openstack.attachments import Attachments
from atoll.cloud.openstack.cinder import (
    CHANGING,
    DEPLOYMENT,
    MAKING,
    OWNER,
    PLUGGING,
    VolumeStatus,
    id_of,
    in_error,
    is_deleted,
    is_in_error,
    is_new,
    pool_of,
    snapshot_of,
    volume_of,
)
from atoll.cloud.openstack.settings import OpenStackSettings
from atoll.cloud.openstack.shapes import checked, whole_ones
from atoll.cloud.openstack.waiting import Watch
from atoll.cloud.sole import oldest
from atoll.errors import (
    CloudError,
    CloudNotFound,
    CloudUnavailable,
    OutOfCapacity,
    VolumeInUse,
)
from atoll.model.keys import name_of


class CinderVolumes:
    """Implements ``Volumes``."""

    def __init__(self, api: Api, deployment: str, settings: OpenStackSettings) -> None:
        self._api = api
        self._deployment = deployment
        self._settings = settings
        self._volumes: Watch[Json] = Watch(self._find, self._by_id)
        self._snapshots: Watch[Json] = Watch(self._find_snapshot, self._snapshots_by_id)
        self.attachments = Attachments(api, self._volumes, settings.max_time_to_attach)
        self._guard = threading.Lock()
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    # --- volumes ------------------------------------------------------------------------------

    def create_volume(
        self,
        owner: str,
        size_gib: int,
        *,
        snapshot_id: str | None = None,
        availability_zone: str = "",
    ) -> Volume:
        """Make a blank volume, or one with a snapshot's content, at least as large."""
        wish: Json = {
            "name": name_of(owner),
            "description": "Made by Atoll for a share.",
            "size": size_gib,
            "metadata": {**self._marks(owner), MAKING: "yes"},
        }
        if snapshot_id is not None:
            snapshot = self.get_snapshot(snapshot_id)
            if snapshot is None:
                raise CloudNotFound(f"There is no snapshot {snapshot_id}.")
            # Without a type, Cinder uses the snapshot's. Another type might belong to another back
            # end.
            wish |= {"snapshot_id": snapshot_id, "size": max(size_gib, snapshot.size_gib)}
        elif self._settings.cinder_volume_type:
            wish["volume_type"] = self._settings.cinder_volume_type
        if zone := availability_zone or self._settings.availability_zone:
            wish["availability_zone"] = zone
        return volume_of(self._provide_volume(owner, wish))

    def create_root_volume(
        self, owner: str, size_gib: int, *, image_id: str, availability_zone: str = ""
    ) -> Volume:
        """Make a volume from an image for one boot. It never looks for an earlier one."""
        wish: Json = {
            "name": name_of(owner),
            "description": "Made by Atoll for a service instance to boot from.",
            "size": size_gib,
            "imageRef": image_id,
            "metadata": {**self._marks(owner), MAKING: "yes"},
        }
        if self._settings.cinder_volume_type:
            wish["volume_type"] = self._settings.cinder_volume_type
        if availability_zone:
            wish["availability_zone"] = availability_zone
        made = self._api.post("/volumes", {"volume": wish})
        return volume_of(self._made(id_of(made, "volume")))

    def _provide_volume(self, owner: str, wish: Json) -> Json:
        """The one volume of ``owner``: the oldest. Threads of this process take turns."""
        with self._turn(owner):
            return oldest(
                lambda: self._oldest(owner),
                lambda: id_of(self._api.post("/volumes", {"volume": wish}), "volume"),
                self._made,
                self.delete_volume,
            )

    def _turn(self, owner: str) -> threading.Lock:
        with self._guard:
            return self._turns.setdefault(owner, threading.Lock())

    def _oldest(self, owner: str) -> str | None:
        found = (
            (each.get("created_at") or "", each["id"]) for each in self._list("volumes", owner)
        )
        return min(found, default=("", None))[1]

    def get_volume(self, volume_id: str) -> Volume | None:
        """The volume, or None when it is gone."""
        found = self._find(volume_id)
        return volume_of(found) if found is not None else None

    def find_volume(self, owner: str) -> Volume | None:
        """What ``create_volume`` made for this owner, for when its id was not recorded."""
        return next((volume_of(found) for found in self._list("volumes", owner)), None)

    def list_volumes(self) -> list[Volume]:
        """All volumes of this deployment."""
        return [volume_of(found) for found in self._list("volumes")]

    def expect(self, volume_id: str) -> Volume:
        """The volume, once no change is in progress. Raises ``CloudNotFound``."""
        return volume_of(self._expect(volume_id))

    def extend_volume(self, volume_id: str, size_gib: int) -> None:
        """Grow it, online when attached; a volume that is already that large is left alone."""
        if self._expect(volume_id)["size"] < size_gib:
            self._act("volumes", volume_id, "os-extend", {"new_size": size_gib})
        grown = self._grown(volume_id)
        if grown["size"] < size_gib:
            raise OutOfCapacity(f"Cinder could not grow volume {volume_id} to {size_gib} GiB.")

    def delete_volume(self, volume_id: str) -> None:
        """Delete it. Raises ``VolumeInUse`` while it is attached or has snapshots."""
        found = self._at_rest(volume_id)
        if found is None:
            return
        if found["attachments"]:
            raise VolumeInUse(f"Volume {volume_id} is still attached.")
        if found["status"] != VolumeStatus.DELETING:
            if next(iter(self._api.list("/snapshots", "snapshots", volume_id=volume_id)), None):
                raise VolumeInUse(f"Volume {volume_id} has snapshots, which need it.")
            self._begin_deletion(f"/volumes/{volume_id}", lambda: self._find(volume_id))
        self._volumes.until(
            volume_id,
            is_deleted,
            self._settings.max_time_to_create_volume,
            f"The deletion of volume {volume_id}",
        )

    def purge(self) -> None:
        """Delete all of this deployment: clones before their snapshots, those before volumes."""
        refusal: VolumeInUse | None = None
        left = -1
        while True:
            things: list[tuple[Callable[[str], None], str]]
            things = [(self.delete_volume, volume.id) for volume in self.list_volumes()]
            things += [(self.delete_snapshot, found.id) for found in self.list_snapshots()]
            if not things:
                return
            if len(things) == left and refusal is not None:
                raise refusal
            left = len(things)
            for delete, thing_id in things:
                try:
                    delete(thing_id)
                except VolumeInUse as error:
                    refusal = error

    # --- snapshots ----------------------------------------------------------------------------

    def create_snapshot(self, owner: str, volume_id: str) -> VolumeSnapshot:
        """Copy the volume as it is now, attached or not."""
        found = next(iter(self._list("snapshots", owner)), None)
        if found is None:
            self._expect(volume_id)
            wish = {
                "name": name_of(owner),
                "description": "Made by Atoll for a share snapshot.",
                "volume_id": volume_id,
                "force": True,  # allows a snapshot of an attached volume
                "metadata": {**self._marks(owner), MAKING: "yes"},
            }
            snapshot_id = id_of(self._api.post("/snapshots", {"snapshot": wish}), "snapshot")
        else:
            snapshot_id = found["id"]

        def made(snapshot: Json | None) -> bool:
            if snapshot is None:
                raise CloudNotFound(f"The snapshot {snapshot_id} is gone.")
            if snapshot["status"] == VolumeStatus.ERROR and is_new(snapshot):
                self._api.delete(f"/snapshots/{snapshot_id}")
                raise CloudError(f"Cinder could not make a snapshot of volume {volume_id}.")
            if is_in_error(snapshot):
                raise in_error("snapshot", snapshot)
            return bool(snapshot["status"] == VolumeStatus.AVAILABLE)

        seconds = self._settings.max_time_to_create_volume
        what = f"The snapshot of volume {volume_id}"
        settled = self._snapshots.until(snapshot_id, made, seconds, what)
        assert settled is not None
        self._unmark("snapshots", settled)
        return snapshot_of(settled)

    def get_snapshot(self, snapshot_id: str) -> VolumeSnapshot | None:
        """The snapshot, or None when it is gone."""
        found = self._find_snapshot(snapshot_id)
        return snapshot_of(found) if found is not None else None

    def find_snapshot(self, owner: str) -> VolumeSnapshot | None:
        """What ``create_snapshot`` made for this owner."""
        return next((snapshot_of(found) for found in self._list("snapshots", owner)), None)

    def list_snapshots(self) -> list[VolumeSnapshot]:
        """All volume snapshots of this deployment."""
        return [snapshot_of(found) for found in self._list("snapshots")]

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete it. Raises ``VolumeInUse`` while volumes that were made from it need it."""
        found = self._snapshots.until(
            snapshot_id,
            lambda snapshot: snapshot is None or snapshot["status"] != VolumeStatus.CREATING,
            self._settings.max_time_to_create_volume,
            f"The making of snapshot {snapshot_id}, before its deletion,",
        )
        if found is None:
            return
        if found["status"] != VolumeStatus.DELETING:
            path = f"/snapshots/{snapshot_id}"
            self._begin_deletion(path, lambda: self._find_snapshot(snapshot_id))
        self._snapshots.until(
            snapshot_id,
            is_deleted,
            self._settings.max_time_to_create_volume,
            f"The deletion of snapshot {snapshot_id}",
        )

    # --- capacity -----------------------------------------------------------------------------

    def pools(self) -> list[Pool]:
        """The current capacity: the back ends' pools or, if they are not visible, the quota."""
        try:
            found = list(self._api.list("/scheduler-stats/get_pools", "pools", detail="true"))
        except CloudUnavailable:
            raise
        except CloudError:
            return [self._quota()]
        return [
            pool_of(str(pool["name"]), pool["capabilities"])
            for pool in found
            if isinstance(pool, dict) and isinstance(pool.get("capabilities"), dict)
        ]

    def _quota(self) -> Pool:
        limits = self._api.get("/limits")["limits"]["absolute"]
        total, used = limits["maxTotalVolumeGigabytes"], limits["totalGigabytesUsed"]
        total = float("inf") if total < 0 else float(total)
        return Pool("cinder", total, total - used, float(used), thin=False)

    # --- how ----------------------------------------------------------------------------------

    def _at_rest(self, volume_id: str) -> Json | None:
        """The volume, once no change is in progress (a killed worker's request still completes).

        None if the volume no longer exists.
        """
        found = self._volumes.until(
            volume_id,
            lambda volume: volume is None or volume["status"] not in CHANGING,
            self._settings.max_time_to_extend_volume,
            f"A change of volume {volume_id} that had begun before",
        )
        if found is not None and found["status"] in PLUGGING:
            return self.attachments.calm(volume_id)
        return found

    def _expect(self, volume_id: str) -> Json:
        found = self._at_rest(volume_id)
        if found is None:
            raise CloudNotFound(f"There is no volume {volume_id}.")
        return found

    def _made(self, volume_id: str) -> Json:
        """The volume, once it is made. Raises ``CloudError`` if that has failed."""

        def refuse(volume: Json) -> None:
            if volume["status"] == VolumeStatus.ERROR and is_new(volume):
                self._api.delete(f"/volumes/{volume_id}")
                raise OutOfCapacity(
                    f"Cinder could not make the volume {volume_id}.",
                    hint="No back end has room for it, or none offers its type: see Cinder's log.",
                )

        seconds = self._settings.max_time_to_create_volume
        volume = self._unchanging(volume_id, refuse, seconds, f"The making of volume {volume_id}")
        self._unmark("volumes", volume)
        return volume

    def _grown(self, volume_id: str) -> Json:
        """The volume, once no change is in progress.

        Raises ``CloudError`` if its growth has failed.
        """

        def refuse(volume: Json) -> None:
            if volume["status"] == VolumeStatus.ERROR_EXTENDING:
                raise OutOfCapacity(f"Cinder could not grow the volume {volume_id}.")

        seconds = self._settings.max_time_to_extend_volume
        return self._unchanging(volume_id, refuse, seconds, f"The growth of volume {volume_id}")

    def _unchanging(
        self, volume_id: str, refuse: Callable[[Json], None], seconds: float, what: str
    ) -> Json:
        """The volume, once no change is in progress. ``refuse`` raises more specific errors."""

        def is_settled(volume: Json | None) -> bool:
            if volume is None:
                raise CloudNotFound(f"The volume {volume_id} is gone.")
            refuse(volume)
            if is_in_error(volume):
                raise in_error("volume", volume)
            return volume["status"] not in CHANGING

        volume = self._volumes.until(volume_id, is_settled, seconds, what)
        assert volume is not None
        return volume

    def _unmark(self, kind: str, thing: Json) -> None:
        """Remove the mark of what is being made, because it may hold data from now on."""
        if is_new(thing):
            self._api.delete(f"/{kind}/{thing['id']}/metadata/{MAKING}")

    def _begin_deletion(self, path: str, find: Callable[[], Json | None]) -> None:
        """Request its deletion, unless another worker has just done that."""
        try:
            self._api.delete(path)
        except CloudError:
            found = find()
            if found is not None and found["status"] != VolumeStatus.DELETING:
                raise

    def _act(self, kind: str, thing_id: str, action: str, arguments: Any) -> Json:
        return self._api.post(f"/{kind}/{thing_id}/action", {action: arguments})

    def _find(self, volume_id: str) -> Json | None:
        answer = self._api.find(f"/volumes/{volume_id}")
        return checked(shapes.Volume, part(answer, "volume")) if answer is not None else None

    def _find_snapshot(self, snapshot_id: str) -> Json | None:
        answer = self._api.find(f"/snapshots/{snapshot_id}")
        return checked(shapes.Snapshot, part(answer, "snapshot")) if answer is not None else None

    def _by_id(self) -> dict[str, Json]:
        return {each["id"]: each for each in self._list("volumes")}

    def _snapshots_by_id(self) -> dict[str, Json]:
        return {each["id"]: each for each in self._list("snapshots")}

    def _marks(self, owner: str = "") -> dict[str, str]:
        marks = {DEPLOYMENT: self._deployment}
        return {**marks, OWNER: owner} if owner else marks

    def _list(self, kind: str, owner: str = "") -> Iterable[Json]:
        """Those of this deployment, or of the owner without those that are being deleted."""
        marks = str(self._marks(owner))
        shape = shapes.Volume if kind == "volumes" else shapes.Snapshot
        listed: Iterable[Json] = self._api.list(f"/{kind}/detail", kind, metadata=marks)
        listed = map(partial(checked, shape), listed) if owner else whole_ones(shape, listed)
        for found in listed:
            if not owner or found["status"] != VolumeStatus.DELETING:
                yield found
