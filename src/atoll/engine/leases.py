"""Renews the worker's leases, and decides when leases of other workers may be taken over.

After an outage of the database, or a pause of this process, no lease is taken over at first: all
leases have expired together although their holders may be alive, and taking over live operations
would overload the service. First every holder gets enough time for one heartbeat.
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
    """The leases that this worker holds; a thread renews all of them three times per lease."""

    def __init__(self, database: Database, owner: str, lease: float) -> None:
        self.lease = lease
        self._database = database
        self._owner = owner
        # By fence, because this worker may claim the same operation again.
        self._held: dict[int, Operation] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._take_over_from = 0.0
        self.distrust()

    # --- what is held -------------------------------------------------------------------------

    def add(self, operation: Operation) -> None:
        """Renew the lease of this operation from now on."""
        with self._lock:
            self._held[operation.fence] = operation

    def remove(self, operation: Operation) -> None:
        """Stop renewing, because the operation's row says how it ended."""
        with self._lock:
            self._held.pop(operation.fence, None)

    def ids(self) -> list[str]:
        """Ids of the operations that this worker holds as far as it knows."""
        with self._lock:
            return [one.id for one in self._held.values() if not one.is_lost]

    # --- may leases be taken over? -------------------------------------------------------------

    def distrust(self) -> None:
        """Wait before taking over leases, which may have expired although their holders live."""
        self._take_over_from = time.monotonic() + self.lease / 2

    @property
    def may_take_over(self) -> bool:
        """Whether an expired lease means that its holder is dead."""
        return time.monotonic() >= self._take_over_from

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
            # The wall clock also shows that the machine was suspended.
            if time.time() - seen > pause + interval:
                log.warning("heartbeat.stalled", seconds=round(time.time() - seen, 1))
                self.distrust()
            try:
                self.renew()
                pause = interval
            except Exception as error:  # noqa: BLE001 - the heartbeat must continue
                self.distrust()
                pause = interval / 4
                log.warning("heartbeat.failed", error=str(error), known=is_transient(error))
            seen = time.time()

    def renew(self) -> None:
        """Renew all leases once, and mark the operations whose leases are lost."""
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
