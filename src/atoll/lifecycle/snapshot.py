"""Takes and deletes snapshots of shares."""

from __future__ import annotations

from atoll.db import owners, share_servers, shares, snapshots
from atoll.db.messages import Action, Resource
from atoll.engine.operation import Operation
from atoll.errors import Postponed, ShareBackendException
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.message import sentence, tell, telling_of_delay
from atoll.lifecycle.server_choice import lane_of
from atoll.model.keys import snapshot_key
from atoll.model.records import ShareServer, Snapshot
from atoll.model.states import SNAPSHOTS_ASKING_FOR_WORK, SnapshotStatus
from atoll.model.transitions import SNAPSHOT_GIVEN_UP_AS


class SnapshotHandler:
    """Handles snapshots."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def converge(self, operation: Operation) -> None:
        """Take or delete the snapshot, as its status asks."""
        with self._backend.database.read() as connection:
            snapshot = snapshots.get(connection, operation.resource_id)
            if snapshot is None or snapshot["status"] not in SNAPSHOTS_ASKING_FOR_WORK:
                return
            share = shares.get(connection, snapshot["share_id"])
            if share is None:
                raise ShareBackendException(public="The snapshot's share is gone.")
            server = share_servers.get(connection, share["share_server_id"] or "")
            earlier = snapshots.taken_before(connection, snapshot)
        creating = snapshot["status"] == SnapshotStatus.CREATING
        if creating and earlier is not None:
            # Snapshots of a share are taken one by one, because it can have only one freeze.
            raise Postponed(
                "The snapshot waits for an earlier one of its share.",
                waits_for=snapshot_key(earlier),
            )
        snapshot["share"] = share
        operation.set_lane(lane_of(server))
        action = Action.CREATE if creating else Action.DELETE
        with telling_of_delay(operation, lambda _: [snapshot], Resource.SNAPSHOT, action):
            if creating:
                self._create(operation, snapshot, server)
            else:
                self._delete(operation, snapshot, server)

    def give_up(self, operation: Operation, error: Exception) -> None:
        """Set the snapshot to ``error`` or ``error_deleting``, and tell the user why."""
        with operation.transaction() as connection:
            snapshot = snapshots.lock(connection, operation.resource_id)
            if snapshot is None:
                return
            creating = snapshot["status"] == SnapshotStatus.CREATING
            given_up = SNAPSHOT_GIVEN_UP_AS.get(snapshot["status"], SnapshotStatus.ERROR_DELETING)
            snapshots.change(connection, snapshot["id"], status=given_up)
            action = Action.CREATE if creating else Action.DELETE
            tell(
                connection,
                operation,
                snapshot,
                Resource.SNAPSHOT,
                action,
                sentence(operation, error),
            )

    def _create(self, operation: Operation, snapshot: Snapshot, server: ShareServer | None) -> None:
        driver = self._backend.driver(operation)
        made = driver.create_snapshot(operation, snapshot, server)
        with operation.transaction() as connection:
            now = snapshots.lock(connection, snapshot["id"])
            # A status that was set meanwhile, such as by a forced deletion, is kept.
            changes: Snapshot = {
                "progress": "100%",
                "provider_location": made["provider_location"],
                "size": made["size"],
                "share_size": made["size"],
            }
            if now is not None and now["status"] == SnapshotStatus.CREATING:
                changes["status"] = SnapshotStatus.AVAILABLE
            snapshots.change(connection, snapshot["id"], **changes)

    def _delete(self, operation: Operation, snapshot: Snapshot, server: ShareServer | None) -> None:
        self._backend.driver(operation).delete_snapshot(operation, snapshot, server)
        with operation.transaction() as connection:
            owners.remove(connection, "snapshot", snapshot["id"])
