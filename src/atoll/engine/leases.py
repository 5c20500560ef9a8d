"""The worker's signs of life: renews its leases, and judges when others may be taken for dead.

Nobody is judged while the database was away or this process stood still: then all leases have
run out at once, and to take over what lives would be a storm of our own making. First everybody
gets the time of one heartbeat to renew.
"""

from __future__ import annotations

import threading
import time

import structlog

from atoll.db import operations
from atoll.db.database import Database, is_transient
from atoll.engine.operation import Operation

log = structlog.get_logger()


class Leases:
    """What this worker holds; a thread renews it all, three times a lease, in one statement."""

    def __init__(self, database: Database, owner: str, lease: float) -> None:
        self.lease = lease
        self._database = database
        self._owner = owner
        self._held: dict[int, Operation] = {}  # by fence: an operation may come back to us
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._judge_from = 0.0
        self.distrust()

    # --- what is held -------------------------------------------------------------------------

    def add(self, operation: Operation) -> None:
        """Renew this one from now on."""
        with self._lock:
            self._held[operation.fence] = operation

    def remove(self, operation: Operation) -> None:
        """Its row says how it ended; no more to renew."""
        with self._lock:
            self._held.pop(operation.fence, None)

    def ids(self) -> list[str]:
        """Ids of the operations that are ours as far as we know."""
        with self._lock:
            return [one.id for one in self._held.values() if not one.is_lost]

    # --- may we judge others? -----------------------------------------------------------------

    def distrust(self) -> None:
        """Leases may have run out though their holders live: wait before taking any over."""
        self._judge_from = time.monotonic() + self.lease / 2

    @property
    def may_take_over(self) -> bool:
        """Whether a lease that has ended means that its holder is dead."""
        return time.monotonic() >= self._judge_from

    # --- the heartbeat ------------------------------------------------------------------------

    def start(self) -> None:
        """Start the heartbeat's thread."""
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """End the heartbeat."""
        self._over.set()

    def _beat(self) -> None:
        interval = self.lease / 3
        pause = interval
        seen = time.time()
        while not self._over.wait(pause):
            # Wall clock: it also sees that the machine was suspended.
            if time.time() - seen > pause + interval:
                log.warning("heartbeat.stood_still", seconds=round(time.time() - seen, 1))
                self.distrust()
            try:
                self.renew()
                pause = interval
            except Exception as error:  # noqa: BLE001 - the heartbeat must go on
                self.distrust()
                pause = interval / 4
                log.warning("heartbeat.failed", error=str(error), known=is_transient(error))
            seen = time.time()

    def renew(self) -> None:
        """Renew all leases once; tell the operations which are lost."""
        with self._lock:
            held = [one for one in self._held.values() if not one.is_lost]
        if not held:
            return
        until = time.monotonic() + self.lease
        with self._database.begin() as connection:
            fences = operations.renew(connection, self._owner, [one.id for one in held], self.lease)
        for operation in held:
            if fences.get(operation.id) == operation.fence:
                operation.renewed(until)
            elif self._still_holds(operation):
                operation.renewed(0.0)
                log.warning("operation.overtaken", operation_id=operation.id)

    def _still_holds(self, operation: Operation) -> bool:
        with self._lock:
            return operation.fence in self._held
