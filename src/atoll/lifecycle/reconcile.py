"""The pass that compares what should be with what is, and has repaired what differs.

It changes little itself: it finds share servers that don't answer, shares that are not served as
they should be, wishes that nobody works on, and things in the cloud that belong to nobody; then it
asks for the resource in question to be made true, as a user's request would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import structlog

from atoll.cloud.base import Instance, Network, OwnedSubnet, Port, Volume, VolumeSnapshot
from atoll.db import audit, messages, rows
from atoll.db.messages import Action, Resource
from atoll.db.rows import Row
from atoll.db.tables import share_servers, shares
from atoll.driver.generic import GenericShareDriver
from atoll.driver.resources import share_key
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import AtollError, OperationError, ServiceInstanceUnavailable
from atoll.guest.base import Health, ShareUsage
from atoll.lifecycle import failed, share_server
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.message import tell

log = structlog.get_logger(__name__)

PROBES = 16
"""Share servers that are asked at the same time, so that a hung one delays few others."""

Owned = Instance | Volume | VolumeSnapshot | Port | OwnedSubnet | Network
Probe = tuple[Row, Health | AtollError, dict[str, ShareUsage]]


class Reconciliation:
    """One pass over everything."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def run(self, operation: Operation) -> None:
        """Look at all, ask for repairs. Each part stands alone: one that fails stops no other."""
        parts: tuple[Callable[[Operation], None], ...] = (
            self._wake_stragglers,
            self._try_again,
            self._check_servers,
            self._check_common_server,
            self._fit_servers,
            self._remove_orphans,
            self._prune,
        )
        for part in parts:
            try:
                part(operation)
            except OperationError:
                raise
            except AtollError as error:
                log.warning("reconcile.part_failed", part=part.__name__, error=str(error))

    # --- parts ----------------------------------------------------------------------------

    def _wake_stragglers(self, operation: Operation) -> None:
        with operation.transaction() as connection:
            for resource in audit.stragglers(connection):
                log.info("reconcile.straggler", resource=resource)
                enqueue(connection, resource)

    def _try_again(self, operation: Operation) -> None:
        with operation.transaction() as connection:
            failed.try_again(connection, self._backend.settings.worker.reconcile_interval)

    def _check_servers(self, operation: Operation) -> None:
        with self._backend.database.read() as connection:
            servers = audit.active_servers(connection)
            served = audit.served_shares(connection)
            busy = audit.busy(connection)
        driver = self._backend.driver(None)
        for server, health, usage in self._probe(driver, servers):
            if isinstance(health, AtollError):
                self._ask(operation, [f"share_server/{server['id']}"], str(health))
                if server["unhealthy_since"] is None:
                    with operation.transaction() as connection:
                        rows.change(
                            connection, share_servers, server["id"], unhealthy_since=time.time()
                        )
                continue
            here = served.get(server["id"], [])
            self._check_shares(operation, driver, here, busy, health, usage)
            if server["unhealthy_since"] is not None:
                self._ask(operation, [f"share_server/{server['id']}"], "answers again")

    def _check_common_server(self, operation: Operation) -> None:
        """The same of the one server that all shares are on, where there are no share servers."""
        driver = self._backend.driver(None)
        if driver.driver_handles_share_servers:
            return
        with self._backend.database.read() as connection:
            here = audit.served_shares(connection).get("", [])
            busy = audit.busy(connection)
        if not here:
            return
        manager = driver.service_instance_manager
        health = manager.health(manager.get_common_server())
        usage = driver.get_share_usage(None)
        self._check_shares(operation, driver, here, busy, health, usage)

    def _check_shares(
        self,
        operation: Operation,
        driver: GenericShareDriver,
        served: list[Row],
        busy: set[str],
        health: Health,
        usage: dict[str, ShareUsage],
    ) -> None:
        """Have shares repaired that an instance doesn't serve as it should."""
        here = [share for share in served if f"share/{share['id']}" not in busy]
        for share in here:
            if difference := driver.differences(share, health):
                self._ask(operation, [f"share/{share['id']}"], difference)
                self._tell_if_detached(operation, share)
        self._note_usage(operation, here, usage)

    def _tell_if_detached(self, operation: Operation, share: Row) -> None:
        volume = self._backend.cloud.volumes.find_volume(share_key(share["id"]))
        if volume is None or volume.instance_id is not None:
            return
        text = (
            "The share was not served: its volume had been detached from the service "
            "instance. It is attached again."
        )
        with operation.transaction() as connection:
            tell(connection, operation, share, Resource.SHARE, Action.UPDATE, text)

    def _probe(self, driver: GenericShareDriver, servers: Iterable[Row]) -> Iterable[Probe]:
        def ask(server: Row) -> Probe:
            manager, details = driver.service_instance_manager, server["backend_details"]
            try:
                if manager.instance_is_off(details):  # the cloud knows: no need to wait for it
                    raise ServiceInstanceUnavailable("The service instance is off, or gone.")
                health = manager.health(details)
                return server, health, driver.get_share_usage(None, server)
            except AtollError as error:
                return server, error, {}

        with ThreadPoolExecutor(PROBES, thread_name_prefix="probe") as pool:
            yield from pool.map(ask, servers)

    def _note_usage(
        self, operation: Operation, here: list[Row], usage: dict[str, ShareUsage]
    ) -> None:
        changed = [
            (share["id"], usage[share["id"]].used_bytes)
            for share in here
            if share["id"] in usage and usage[share["id"]].used_bytes != share["used_bytes"]
        ]
        if not changed:
            return
        with operation.transaction() as connection:
            for share_id, used_bytes in changed:
                rows.change(connection, shares, share_id, used_bytes=used_bytes)

    def _fit_servers(self, operation: Operation) -> None:
        before = time.time() - self._backend.settings.driver.unused_share_server_cleanup_interval
        with operation.transaction() as connection:
            for server_id in audit.idle_servers(connection, before):
                rows.change(connection, share_servers, server_id, status="deleting")
                enqueue(connection, f"share_server/{server_id}")
            share_server.keep_warm(connection, self._backend.settings)

    def _remove_orphans(self, operation: Operation) -> None:
        """Remove what is tagged as ours and belongs to no row.

        The cloud is listed before the rows are read: a thing is made only while its row exists, so
        what is in the list and has no row afterwards has lost it, and nobody will come for it.

        Unless the database itself was put back from an old backup: then it has never heard of what
        was made since. So only what it remembers an operation of is removed; the rest is told of,
        for an administrator to decide.
        """
        cloud = self._backend.cloud
        listed: list[tuple[Owned, Callable[[str], None]]] = [
            *((each, cloud.compute.delete_instance) for each in cloud.compute.list_instances()),
            *((each, self._delete_volume) for each in cloud.volumes.list_volumes()),
            *((each, cloud.volumes.delete_snapshot) for each in cloud.volumes.list_snapshots()),
            *((each, cloud.networks.delete_port) for each in cloud.networks.list_ports()),
            *((each, self._delete_subnet) for each in cloud.networks.list_subnets()),
            *((each, cloud.networks.delete_network) for each in cloud.networks.list_networks()),
        ]
        with self._backend.database.read() as connection:
            known = audit.known_owners(connection)
            orphans = [
                (thing, delete)
                for thing, delete in listed
                if thing.owner.partition("/")[0] in audit.OWNERS and thing.owner not in known
            ]
            remembered = audit.worked_on(connection, {thing.owner for thing, _ in orphans})
        operation.check()
        for thing, delete in orphans:
            kind = type(thing).__name__
            if thing.owner in remembered:
                log.warning("reconcile.orphan_removed", thing=kind, owner=thing.owner)
                try:
                    delete(thing.id)
                except AtollError as error:  # another orphan may need it: the next pass
                    log.warning("reconcile.orphan_stays", thing=kind, error=str(error))
            else:
                log.error("reconcile.orphan_kept", thing=kind, id=thing.id, owner=thing.owner)

    def _delete_volume(self, volume_id: str) -> None:
        volume = self._backend.cloud.volumes.get_volume(volume_id)
        if volume is not None and volume.instance_id is not None:
            self._backend.cloud.compute.detach_volume(volume.instance_id, volume_id)
        self._backend.cloud.volumes.delete_volume(volume_id)

    def _delete_subnet(self, subnet_id: str) -> None:
        networks = self._backend.cloud.networks
        for subnet in networks.list_subnets():
            if subnet.id == subnet_id:
                networks.disconnect_router(subnet.router_id or "", subnet_id)
        networks.delete_subnet(subnet_id)

    def _prune(self, operation: Operation) -> None:
        with operation.transaction() as connection:
            messages.prune(connection)

    def _ask(self, operation: Operation, resources: Iterable[str], reason: str) -> None:
        with operation.transaction() as connection:
            for resource in resources:
                log.info("reconcile.repair", resource=resource, reason=reason)
                enqueue(connection, resource)
