"""The end of service instances whose volumes go to another one: it is proved before they go.

The id of an instance that has ended is stored, so that a worker that takes over need not prove it
again. An operator confirms the end of one that the cloud knows nothing about in the same place.
"""

from __future__ import annotations

from typing import Final

from atoll.cloud.base import Compute, Fencing, FencingState
from atoll.driver.storage import PrivateStorage

INSTANCE_ID: Final = "instance_id"
"""Key of the instance that a share server has now."""
ENDED_ID: Final = "ended_instance_id"
"""Key of the last of its instances that is known to have ended."""


class InstanceFence:
    """Fences the instances of share servers. ``owner`` is a share server's key."""

    def __init__(self, compute: Compute, storage: PrivateStorage) -> None:
        self._compute = compute
        self._storage = storage

    def look(self, owner: str, instance_id: str) -> Fencing:
        """What is known about the end of an instance, which may be gone. It changes nothing."""
        current = self._storage.get(owner, INSTANCE_ID)
        if current not in (None, instance_id) or self._has_ended(owner, instance_id):
            return Fencing(FencingState.PROVED)  # another is made only when the one before is ended
        return self._compute.fencing(instance_id)

    def end(self, owner: str, instance_id: str) -> None:
        """Delete an instance. It returns when it is proved, or confirmed, that it does not run.

        Raises ``InstanceMayStillRun``.
        """
        self._storage.check_current()
        if self._has_ended(owner, instance_id):
            self._compute.delete_instance(instance_id)
            return
        self._compute.fence_instance(instance_id)
        self._storage.update(owner, {ENDED_ID: instance_id})

    def _has_ended(self, owner: str, instance_id: str) -> bool:
        return self._storage.get(owner, ENDED_ID) == instance_id
