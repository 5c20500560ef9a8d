"""The instances that Cinder has volumes attached to, and attachments that are stuck.

A volume that is being attached has an attachment (``reserved``, ``attaching``) before an instance
has it. Meanwhile Nova refuses another request, even from the worker that takes over from one that
was killed. Therefore every change of a volume waits until no attaching or detaching is in progress.
"""

from __future__ import annotations

import time

import structlog

from atoll.cloud.openstack.api import Api, Json
from atoll.cloud.openstack.cinder import PLUGGING, UNPLUGGED, AttachmentStatus, VolumeStatus
from atoll.cloud.openstack.waiting import Watch
from atoll.errors import CloudNotFound, CloudUnavailable

log = structlog.get_logger(__name__)

SURE_SECONDS = 3.0
"""How long a volume is ``attaching`` without any attachment before Atoll resets it."""


class Attachments:
    """The attachments of all volumes. ``seconds`` is how long attaching or detaching may take."""

    def __init__(self, api: Api, volumes: Watch[Json], seconds: float) -> None:
        self._api = api
        self._volumes = volumes
        self._seconds = seconds

    def of(self, volume_id: str) -> list[Json]:
        """A volume's attachments (``instance``, ``status``), also those that are not complete."""
        return list(self._api.list("/attachments/detail", "attachments", volume_id=volume_id))

    def forget(self, attachment: Json) -> None:
        """Delete an attachment whose server doesn't exist. It may be gone already."""
        log.warning("openstack.attachment_forgotten", volume=attachment["volume_id"])
        self._api.delete(f"/attachments/{attachment['id']}")

    def is_plugging(self, volume_id: str) -> bool:
        """Whether the volume is being attached or detached now."""
        answer = self._api.find(f"/volumes/{volume_id}")
        return answer is not None and answer["volume"]["status"] in PLUGGING

    def calm(self, volume_id: str) -> Json | None:
        """Wait until the volume is not being attached or detached; None if it no longer exists.

        A volume that is ``attaching`` without any attachment (because its status was set by hand,
        for example) is reset. Raises ``CloudUnavailable`` if it takes too long.
        """
        begun = time.monotonic()
        looked = False

        def is_calm(volume: Json | None) -> bool:
            nonlocal looked
            if volume is None or volume["status"] not in PLUGGING:
                return True
            lasts = time.monotonic() - begun
            if volume["status"] == VolumeStatus.ATTACHING and lasts > SURE_SECONDS and not looked:
                looked = True
                self._unreserve_if_unattached(volume_id)
            if lasts > self._seconds:
                self._give_up(volume)
            return False

        what = f"Plugging volume {volume_id} in or out"
        return self._volumes.until(volume_id, is_calm, 2 * self._seconds, what)

    def await_attached(self, volume_id: str, instance_id: str) -> None:
        """Return when the instance has the volume. Raises ``CloudUnavailable`` if that failed."""

        def attached(volume: Json | None) -> bool:
            if volume is None:
                raise CloudNotFound(f"There is no volume {volume_id}.")
            if volume["status"] in UNPLUGGED:
                raise CloudUnavailable(  # Nova doesn't say why, and often the next try succeeds
                    f"Nova could not attach volume {volume_id} to instance {instance_id}; "
                    f"it is {volume['status']} again.",
                    hint="If this continues, the log of nova-compute says why.",
                )
            holders = [each["server_id"] for each in volume["attachments"]]
            return volume["status"] == VolumeStatus.IN_USE and instance_id in holders

        self._volumes.until(volume_id, attached, self._seconds, f"Attaching volume {volume_id}")

    def await_detached(self, volume_id: str) -> None:
        """Return when no instance has the volume."""

        def detached(volume: Json | None) -> bool:
            return volume is None or (
                not volume["attachments"] and volume["status"] not in PLUGGING
            )

        self._volumes.until(volume_id, detached, self._seconds, f"Detaching volume {volume_id}")

    def _unreserve_if_unattached(self, volume_id: str) -> None:
        if any(each["status"] != AttachmentStatus.ATTACHED for each in self.of(volume_id)):
            return
        log.warning("openstack.volume_unreserved", volume=volume_id)
        self._api.post(f"/volumes/{volume_id}/action", {"os-unreserve": None})

    def _give_up(self, volume: Json) -> None:
        """Raise an error that says that the volume is stuck.

        Detaching is rolled back for the next try.
        """
        volume_id, status = volume["id"], volume["status"]
        if status == VolumeStatus.DETACHING:
            self._api.post(f"/volumes/{volume_id}/action", {"os-roll_detaching": None})
        raise CloudUnavailable(
            f"Volume {volume_id} is stuck: Cinder has shown {status!r} "
            f"for {self._seconds:g} seconds.",
            hint="If this continues, the log of nova-compute says why, and an administrator can"
            " reset the volume's status.",
        )
