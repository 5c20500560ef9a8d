"""A snapshot: a frozen moment of a share."""

from __future__ import annotations

from atoll.db import owners, rows
from atoll.db import snapshots as queries
from atoll.db.messages import Action, Resource
from atoll.db.rows import Row
from atoll.db.tables import share_servers, shares, snapshots
from atoll.engine.operation import Operation
from atoll.errors import Postponed, ShareBackendException
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.message import sentence, tell, telling_of_delay
from atoll.lifecycle.share_server import lane_of


class SnapshotHandler:
    """Makes snapshots true."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def converge(self, operation: Operation) -> None:
        """Take the snapshot, or remove it, as its status says."""
        with self._backend.database.read() as connection:
            snapshot = rows.get(connection, snapshots, operation.resource_id)
            if snapshot is None or snapshot["status"] not in ("creating", "deleting"):
                return
            share = rows.get(connection, shares, snapshot["share_id"])
            if share is None:
                raise ShareBackendException(public="The snapshot's share is gone.")
            server = rows.get(connection, share_servers, share["share_server_id"] or "")
            earlier = queries.taken_before(connection, snapshot)
        creating = snapshot["status"] == "creating"
        if creating and earlier is not None:
            # Snapshots of a share are taken one after the other: it has one freeze at a time.
            raise Postponed(
                "The snapshot waits for an earlier one of its share.",
                waits_for=f"snapshot/{earlier}",
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
        """``error`` or ``error_deleting``, and the user is told why."""
        with operation.transaction() as connection:
            snapshot = rows.get(connection, snapshots, operation.resource_id)
            if snapshot is None:
                return
            creating = snapshot["status"] == "creating"
            rows.change(
                connection,
                snapshots,
                snapshot["id"],
                status="error" if creating else "error_deleting",
            )
            action = Action.CREATE if creating else Action.DELETE
            tell(
                connection,
                operation,
                snapshot,
                Resource.SNAPSHOT,
                action,
                sentence(operation, error),
            )

    def _create(self, operation: Operation, snapshot: Row, server: Row | None) -> None:
        driver = self._backend.driver(operation)
        made = driver.create_snapshot(operation, snapshot, server)
        with operation.transaction() as connection:
            now = rows.get(connection, snapshots, snapshot["id"])
            # What was asked for meanwhile, by force, counts more.
            done = {"status": "available"} if now and now["status"] == "creating" else {}
            rows.change(
                connection,
                snapshots,
                snapshot["id"],
                **done,
                progress="100%",
                provider_location=made["provider_location"],
                size=made["size"],
                share_size=made["size"],
            )

    def _delete(self, operation: Operation, snapshot: Row, server: Row | None) -> None:
        self._backend.driver(operation).delete_snapshot(operation, snapshot, server)
        with operation.transaction() as connection:
            owners.remove(connection, "snapshot", snapshot["id"])
