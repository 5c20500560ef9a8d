"""A share, from the wish in its row to what clients mount.

The row's status says what is wanted (decision 0002): ``creating`` and ``creating_from_snapshot``
make it, ``extending`` grows it to ``wanted_size``, ``deleting`` removes it, and a share at rest is
made true again: volume attached, file system mounted, exported, its access rules applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection

from atoll.db import access_rules, export_locations, owners, placement, rows
from atoll.db.messages import Action, Detail, Resource
from atoll.db.rows import Row
from atoll.db.tables import share_servers, shares, snapshots
from atoll.driver.generic import GenericShareDriver
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import (
    NoShareServer,
    NoValidHost,
    Postponed,
    ServiceInstanceException,
)
from atoll.lifecycle import access, charges, scheduler, share_server
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.message import sentence, tell, telling_of_delay
from atoll.lifecycle.share_server import lane_of

AT_REST = ("available", "extending_error")

CALLED_OFF = ("available", "error", "error_deleting", "inactive")
"""Statuses that an administrator may set while a share is to grow."""

GIVEN_UP: Mapping[str, tuple[str, Action, Detail]] = {
    "creating": ("error", Action.CREATE, Detail.UNKNOWN_ERROR),
    "creating_from_snapshot": ("error", Action.CREATE, Detail.UNKNOWN_ERROR),
    "extending": ("extending_error", Action.EXTEND, Detail.DRIVER_FAILED_EXTEND),
    "deleting": ("error_deleting", Action.DELETE, Detail.UNKNOWN_ERROR),
}
"""Status when an operation is given up: error state, and the message's action and detail."""


class ShareHandler:
    """Makes shares true. One for the whole worker, used from many threads."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def converge(self, operation: Operation) -> None:
        """Do what the share's row asks for; a share that is gone asks for nothing."""
        share = self._read(operation.resource_id)
        if share is None:
            return
        verbs: dict[str, Callable[[Operation, Row], None]] = {
            "creating": self._create,
            "creating_from_snapshot": self._create,
            "extending": self._extend,
            "deleting": self._delete,
        }
        if share["wanted_size"] is not None and share["status"] in CALLED_OFF:
            self._note_growth(operation, share)
        verb = verbs.get(share["status"])
        if verb is None and share["status"] in AT_REST:
            verb = self._ensure if share["made"] else self._create
        if verb is not None:
            action = GIVEN_UP[share["status"]][1] if share["status"] in GIVEN_UP else Action.UPDATE
            with telling_of_delay(operation, lambda _: [share], Resource.SHARE, action):
                verb(operation, share)

    def give_up(self, operation: Operation, error: Exception) -> None:
        """Put the share, or its unapplied rules, in error, and tell the user why."""
        share = self._read(operation.resource_id)
        if share is not None and share["wanted_size"] and share["status"] != "deleting":
            # It is given up only when the reached size is known, because that size is charged.
            self._note_growth(operation, share)
        with operation.transaction() as connection:
            share = rows.get(connection, shares, operation.resource_id)
            if share is None:
                return
            asked = share["status"]
            if asked in AT_REST and not export_locations.exist(connection, share["id"]):
                asked = "creating"
            outcome = GIVEN_UP.get(asked)
            if outcome is None:
                access.give_up(connection, share, operation, error)
                return
            status, action, detail = outcome
            if isinstance(error, NoValidHost):
                action = Action.ALLOCATE_HOST
                detail = scheduler.DETAILS.get(error.failed, Detail.NO_VALID_HOST)
            rows.change(connection, shares, share["id"], status=status)
            if not isinstance(error, NoShareServer):  # of which the server's operation has told
                text = sentence(operation, error)
                tell(connection, operation, share, Resource.SHARE, action, text, detail)

    # --- verbs ----------------------------------------------------------------------------

    def _create(self, operation: Operation, share: Row) -> None:
        server = self._place(operation, share)
        driver = self._backend.driver(operation)
        driver.prepare_share(operation, share, _booting_instance(server))
        if server is not None:
            share["share_server_id"] = server["id"]
            _await_set_up(server)
            if server["status"] != "active":
                raise NoShareServer
        operation.set_lane(lane_of(server))
        if share["snapshot_id"]:
            snapshot = self._snapshot(share["snapshot_id"])
            update = driver.create_share_from_snapshot(operation, share, snapshot, server)
            locations = update["export_locations"]
        else:
            locations = driver.create_share(operation, share, server)
        with operation.transaction() as connection:
            export_locations.replace(connection, share["id"], locations)
            self._become_available(connection, share, progress="100%")
            self._come_back_for_rules(connection, operation)

    @staticmethod
    def _become_available(connection: Connection, share: Row, **values: Any) -> None:
        """Set it ``available``, unless its status was changed meanwhile (a forced deletion)."""
        now = rows.get(connection, shares, share["id"])
        if now is not None and now["status"] == share["status"]:
            values["status"] = "available"
        rows.change(connection, shares, share["id"], **values)

    @staticmethod
    def _come_back_for_rules(connection: Connection, operation: Operation) -> None:
        """Have rules that were asked for meanwhile applied next."""
        if access.pending(connection, operation.resource_id):
            enqueue(connection, operation.resource, request_id=operation.request_id)

    def _place(self, operation: Operation, share: Row) -> Row | None:
        """The share's server: the one that it has, one with room, or a new one.

        None is the common server. Which of the two a share asks for, its share type has said.
        Raises ``NoValidHost`` when no pool is what the share's type, zone and hints demand.
        """
        settings = self._backend.settings
        self._backend.pools()  # which may ask the cloud: not within a transaction
        with operation.transaction() as connection:
            if share["share_server_id"]:
                server = rows.get(connection, share_servers, share["share_server_id"])
                if server is not None and server["status"] != "deleting":
                    return server
            elif share["host"] and not share["share_network_id"]:
                return None
            wish = scheduler.wish(connection, share)
            pool = scheduler.choose(wish, scheduler.pools(connection, self._backend))
            self._check_kind(share)
            server = None
            if share["share_network_id"]:
                server = share_server.choose(connection, settings, share, pool.host, pool.zone)
            rows.change(
                connection,
                shares,
                share["id"],
                share_server_id=server["id"] if server is not None else None,
                host=pool.name,
                availability_zone=pool.zone,
            )
            return server

    def _note_growth(self, operation: Operation, share: Row) -> None:
        size = charges.provided(self._backend, share)
        with operation.transaction() as connection:
            charges.grown(connection, share["id"], size)

    def _check_kind(self, share: Row) -> None:
        """The share may be older than what its share type says now."""
        handles = self._backend.settings.driver.driver_handles_share_servers
        if handles != bool(share["share_network_id"]):
            raise scheduler.no_valid_host(
                "The back end has no share servers of the kind that the share type asked for "
                "(driver_handles_share_servers).",
                "Capabilities",
            )

    def _extend(self, operation: Operation, share: Row) -> None:
        with self._backend.database.read() as connection:
            charges.await_snapshots(connection, share)
        server = self._server(share)
        operation.set_lane(lane_of(server))
        size = max(share["wanted_size"] or 0, share["size"])
        self._backend.driver(operation).extend_share(operation, share, size, server)
        with operation.transaction() as connection:
            self._become_available(connection, share, size=size, wanted_size=None)
            self._come_back_for_rules(connection, operation)

    def _delete(self, operation: Operation, share: Row) -> None:
        server = self._server_or_none(share)
        driver = self._backend.driver(operation)
        driver.delete_share(operation, share, server)
        with operation.transaction() as connection:
            access_rules.remove_all(connection, share["id"])
            export_locations.replace(connection, share["id"], [])
            placement.forget_hints(connection, share)
            owners.remove(connection, "share", share["id"])
            if server is not None:
                share_server.note_if_idle(connection, server["id"])

    def _ensure(self, operation: Operation, share: Row) -> None:
        """Repair what is broken, then bring the access rules up to date."""
        server = self._server(share)
        if server is not None:
            _await_set_up(server)
        operation.set_lane(lane_of(server))
        driver = self._backend.driver(operation)
        if not access.sync(self._backend, operation, driver, share, server):
            self._repair(operation, driver, share, server)

    def _repair(
        self, operation: Operation, driver: GenericShareDriver, share: Row, server: Row | None
    ) -> None:
        locations = driver.ensure_share(operation, share, server)
        if locations:
            with operation.transaction() as connection:
                export_locations.replace(connection, share["id"], locations)

    # --- reading --------------------------------------------------------------------------

    def _read(self, share_id: str) -> Row | None:
        with self._backend.database.read() as connection:
            share = rows.get(connection, shares, share_id)
            if share is not None:
                share["access_rules"] = access.applied(connection, share_id)
                # An administrator may have called it available before it was made.
                share["made"] = export_locations.exist(connection, share_id)
            return share

    def _server(self, share: Row) -> Row | None:
        """The share's server; None where it is on the common one."""
        server = self._server_or_none(share)
        if server is None and share["share_network_id"]:
            raise ServiceInstanceException(public="The share has no share server.")
        return server

    def _server_or_none(self, share: Row) -> Row | None:
        if not share["share_server_id"]:
            return None
        with self._backend.database.read() as connection:
            return rows.get(connection, share_servers, share["share_server_id"])

    def _snapshot(self, snapshot_id: str) -> Row:
        with self._backend.database.read() as connection:
            snapshot = rows.get(connection, snapshots, snapshot_id)
        if snapshot is None:
            raise ServiceInstanceException(
                public="The snapshot that the share is made from is gone."
            )
        return snapshot


def _booting_instance(server: Row | None) -> str:
    """Id of the instance that is being set up, once it takes volumes; else empty."""
    if server is None or server["status"] != "creating":
        return ""
    return server["identifier"] or ""


def _await_set_up(server: Row) -> None:
    """Its operation wakes the share's twice: when volumes can be plugged in, and when it serves."""
    if server["status"] == "creating":
        raise Postponed(
            "The share waits for its share server.", waits_for=f"share_server/{server['id']}"
        )
