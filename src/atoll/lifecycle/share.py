"""Creates, extends, repairs and deletes shares, as their rows ask for.

The row's status says what is wanted (decision 0002): ``creating`` and ``creating_from_snapshot``
create the share, ``extending`` extends it to ``wanted_size``, and ``deleting`` deletes it. A share
at rest is repaired: its volume is attached, its file system is mounted and exported, and its access
rules are applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Unpack

from sqlalchemy import Connection

from atoll.db import (
    access_rules,
    export_locations,
    owners,
    placement,
    share_servers,
    shares,
    snapshots,
)
from atoll.db.messages import Action, Detail, Resource
from atoll.driver.generic import GenericShareDriver
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import (
    NoShareServer,
    NoValidHost,
    Postponed,
    ServiceInstanceException,
)
from atoll.lifecycle import access, charges, hold, scheduler, server_choice
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.message import sentence, tell, telling_of_delay
from atoll.lifecycle.server_choice import lane_of
from atoll.model.keys import server_key
from atoll.model.records import Share, ShareServer, Snapshot
from atoll.model.states import GROWTH_CALLED_OFF, SHARES_AT_REST, ServerStatus, ShareStatus
from atoll.model.transitions import SHARE_GIVEN_UP_AS

TOLD_AS: Mapping[ShareStatus, tuple[Action, Detail]] = {
    ShareStatus.CREATING: (Action.CREATE, Detail.UNKNOWN_ERROR),
    ShareStatus.CREATING_FROM_SNAPSHOT: (Action.CREATE, Detail.UNKNOWN_ERROR),
    ShareStatus.EXTENDING: (Action.EXTEND, Detail.DRIVER_FAILED_EXTEND),
    ShareStatus.DELETING: (Action.DELETE, Detail.UNKNOWN_ERROR),
}
"""Action and detail of the user's message when work on a share is delayed or given up."""


class ShareHandler:
    """Handles shares. A worker has one handler, used by many threads."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def converge(self, operation: Operation) -> None:
        """Do what the share's row asks for, if the row still exists."""
        share = self._read(operation.resource_id)
        if share is None:
            return
        verbs: dict[ShareStatus, Callable[[Operation, Share], None]] = {
            ShareStatus.CREATING: self._create,
            ShareStatus.CREATING_FROM_SNAPSHOT: self._create,
            ShareStatus.EXTENDING: self._extend,
            ShareStatus.DELETING: self._delete,
        }
        if share["wanted_size"] is not None and share["status"] in GROWTH_CALLED_OFF:
            self._note_growth(operation, share)
        verb = verbs.get(share["status"])
        if verb is None and share["status"] in SHARES_AT_REST:
            verb = self._ensure if self._is_made(share) else self._create
        if verb is not None:
            action, _ = TOLD_AS.get(share["status"], (Action.UPDATE, None))
            with telling_of_delay(operation, lambda _: [share], Resource.SHARE, action):
                verb(operation, share)

    def give_up(self, operation: Operation, error: Exception) -> None:
        """Set the share, or its unapplied rules, to error, and tell the user why."""
        share = self._read(operation.resource_id)
        if share is not None and share["wanted_size"] and share["status"] != ShareStatus.DELETING:
            # The actual size must be known first, because quotas charge that size.
            self._note_growth(operation, share)
        with operation.transaction() as connection:
            share = shares.lock(connection, operation.resource_id)
            if share is None:
                return
            asked = share["status"]
            if asked in SHARES_AT_REST and not export_locations.exist(connection, share["id"]):
                asked = ShareStatus.CREATING
            if asked not in SHARE_GIVEN_UP_AS:
                access.give_up(connection, share, operation, error)
                return
            action, detail = TOLD_AS[asked]
            if isinstance(error, NoValidHost):
                action = Action.ALLOCATE_HOST
                detail = scheduler.DETAILS.get(error.failed, Detail.NO_VALID_HOST)
            shares.change(connection, share["id"], status=SHARE_GIVEN_UP_AS[asked])
            # The share server's operation has told the user already about NoShareServer.
            if not isinstance(error, NoShareServer):
                text = sentence(operation, error)
                tell(connection, operation, share, Resource.SHARE, action, text, detail)

    # --- verbs ----------------------------------------------------------------------------

    def _create(self, operation: Operation, share: Share) -> None:
        server = self._place(operation, share)
        driver = self._backend.driver(operation)
        driver.prepare_share(operation, share, _booting_instance(server))
        if server is not None:
            share["share_server_id"] = server["id"]
            _await_set_up(server)
            if server["status"] != ServerStatus.ACTIVE:
                raise NoShareServer
        operation.set_lane(lane_of(server))
        self._choose_rules(driver, share, server)
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
    def _become_available(connection: Connection, share: Share, **values: Unpack[Share]) -> None:
        """Set the share to ``available``, unless its status was changed meanwhile."""
        now = shares.lock(connection, share["id"])
        if now is not None and now["status"] == share["status"]:
            values["status"] = ShareStatus.AVAILABLE
        shares.change(connection, share["id"], **values)

    @staticmethod
    def _come_back_for_rules(connection: Connection, operation: Operation) -> None:
        """Request that rules which were requested meanwhile are applied next."""
        if access.pending(connection, operation.resource_id):
            enqueue(connection, operation.resource, request_id=operation.request_id)

    def _place(self, operation: Operation, share: Share) -> ShareServer | None:
        """Choose the share's server: the one that it has, one with room, or a new one.

        None is the common server; the share type determines which kind a share needs. Raises
        ``NoValidHost`` if no pool satisfies the share's type, zone and hints.
        """
        settings = self._backend.settings
        self._backend.pools()  # this may ask the cloud, so it is outside the transaction
        with operation.transaction() as connection:
            if share["share_server_id"]:
                server = share_servers.get(connection, share["share_server_id"])
                if server is not None and server["status"] != ServerStatus.DELETING:
                    return server
            elif share["host"] and not share["share_network_id"]:
                return None
            spec = scheduler.request_spec(connection, share)
            pool = scheduler.choose(spec, scheduler.pools(connection, self._backend))
            self._check_kind(share)
            server = None
            if share["share_network_id"]:
                server = server_choice.choose(connection, settings, share, pool.host, pool.zone)
            shares.change(
                connection,
                share["id"],
                share_server_id=server["id"] if server is not None else None,
                host=pool.name,
                availability_zone=pool.zone,
            )
            return server

    def _note_growth(self, operation: Operation, share: Share) -> None:
        size = charges.provided(self._backend, share)
        with operation.transaction() as connection:
            charges.grown(connection, share["id"], size)

    def _check_kind(self, share: Share) -> None:
        """Raise ``NoValidHost`` if the share was requested for another kind of back end."""
        handles = self._backend.settings.driver.driver_handles_share_servers
        if handles != bool(share["share_network_id"]):
            raise scheduler.no_valid_host(
                "The back end has no share servers of the kind that the share type asked for "
                "(driver_handles_share_servers).",
                "Capabilities",
            )

    def _extend(self, operation: Operation, share: Share) -> None:
        with self._backend.database.read() as connection:
            charges.await_snapshots(connection, share)
        server = self._server(share)
        operation.set_lane(lane_of(server))
        size = max(share["wanted_size"] or 0, share["size"])
        driver = self._backend.driver(operation)
        self._choose_rules(driver, share, server)
        driver.extend_share(operation, share, size, server)
        with operation.transaction() as connection:
            self._become_available(connection, share, size=size, wanted_size=None)
            self._come_back_for_rules(connection, operation)

    def _delete(self, operation: Operation, share: Share) -> None:
        server = self._server_or_none(share)
        driver = self._backend.driver(operation)
        driver.delete_share(operation, share, server)
        with operation.transaction() as connection:
            access_rules.remove_all(connection, share["id"])
            export_locations.replace(connection, share["id"], [])
            placement.forget_hints(connection, share)
            owners.remove(connection, "share", share["id"])
            if server is not None:
                server_choice.note_if_idle(connection, server["id"])

    def _ensure(self, operation: Operation, share: Share) -> None:
        """Repair what is broken, then bring the access rules up to date."""
        server = self._server(share)
        if server is not None:
            _await_set_up(server)
        operation.set_lane(lane_of(server))
        driver = self._backend.driver(operation)
        if access.sync(self._backend, operation, driver, share, server):
            return
        self._choose_rules(driver, share, server)
        locations = driver.ensure_share(operation, share, server)
        if locations:
            with operation.transaction() as connection:
                export_locations.replace(connection, share["id"], locations)

    def _choose_rules(
        self, driver: GenericShareDriver, share: Share, server: ShareServer | None
    ) -> None:
        rules = share["access_rules"]
        share["access_rules"] = hold.rules_to_serve(
            self._backend.database, driver, share, server, rules
        )

    # --- reading --------------------------------------------------------------------------

    def _read(self, share_id: str) -> Share | None:
        with self._backend.database.read() as connection:
            share = shares.get(connection, share_id)
            if share is not None:
                share["access_rules"] = access_rules.of_share(connection, share_id)
            return share

    def _is_made(self, share: Share) -> bool:
        """Whether the share was ever served; an administrator may set any share to available."""
        with self._backend.database.read() as connection:
            return export_locations.exist(connection, share["id"])

    def _server(self, share: Share) -> ShareServer | None:
        """The share's server; None if the share is on the common server."""
        server = self._server_or_none(share)
        if server is None and share["share_network_id"]:
            raise ServiceInstanceException(public="The share has no share server.")
        return server

    def _server_or_none(self, share: Share) -> ShareServer | None:
        if not share["share_server_id"]:
            return None
        with self._backend.database.read() as connection:
            return share_servers.get(connection, share["share_server_id"])

    def _snapshot(self, snapshot_id: str) -> Snapshot:
        with self._backend.database.read() as connection:
            snapshot = snapshots.get(connection, snapshot_id)
        if snapshot is None:
            raise ServiceInstanceException(
                public="The snapshot that the share is made from is gone."
            )
        return snapshot


def _booting_instance(server: ShareServer | None) -> str:
    """Id of the instance that is being set up, once volumes can be attached; else empty."""
    if server is None or server["status"] != ServerStatus.CREATING:
        return ""
    return server["identifier"] or ""


def _await_set_up(server: ShareServer) -> None:
    """Raise ``Postponed`` while the share server is being set up.

    The server's operation wakes the share's operation twice: when volumes can be attached, and when
    the server is ready.
    """
    if server["status"] == ServerStatus.CREATING:
        raise Postponed("The share waits for its share server.", waits_for=server_key(server["id"]))
