"""The reconcile pass: compares the wanted state with the actual state, and requests repairs.

It changes little itself. It finds share servers that don't answer, shares that are not served as
they should be, requests without an operation, and resources in the cloud without a row. It then
enqueues an operation for the resource, as a user's request would.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection

from atoll.db import audit, messages, owners, restores, share_servers, shares
from atoll.db.messages import Action, Resource
from atoll.driver.answer import Answer
from atoll.driver.generic import GenericShareDriver
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import AtollError, OperationError, ServiceInstanceUnavailable
from atoll.guest.base import Health, ShareUsage
from atoll.lifecycle import charges, failed, file_systems, hold, routes, server_choice, witness
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.guard import tend
from atoll.lifecycle.message import tell
from atoll.lifecycle.orphans import Found, Orphans
from atoll.model.keys import server_key, share_key
from atoll.model.records import Share, ShareServer
from atoll.model.states import ServerStatus

log = structlog.get_logger(__name__)

PROBES = 16
"""Number of share servers that are asked at once, so that a hung one delays few others."""

FAILURES = Counter(
    "atoll_reconcile_failures_total",
    "Failures of single parts of the reconcile pass, by part",
    ["part"],
)

Report = tuple[Health, dict[str, ShareUsage]]
Probe = tuple[ShareServer, Report | AtollError | None]


@contextmanager
def alone(part: str, **about: str) -> Iterator[None]:
    """Log and count an error inside, so that it does not stop the other parts of the pass.

    ``OperationError`` (such as a lost lease) is raised, because the operation can't continue.
    """
    try:
        yield
    except OperationError:
        raise
    except AtollError as error:
        FAILURES.labels(part).inc()
        log.warning("reconcile.part_failed", part=part, error=str(error), **about)
    except Exception:
        FAILURES.labels(part).inc()
        log.exception("reconcile.part_failed", part=part, **about)


class Reconciliation:
    """One pass over all resources."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._orphans = Orphans(backend.cloud, backend.database)
        self._found = Found([], {})

    def run(self, operation: Operation) -> None:
        """Check all resources and request repairs. Errors in one part do not stop the others."""
        for part in self._parts():
            with alone(part.__name__.strip("_")):
                part(operation)

    def _parts(self) -> Iterator[Callable[[Operation], None]]:
        yield self._notice_restore
        yield self._tend
        yield self._compare_orphans  # before all parts that remove something
        if hold.is_held(self._backend.database):
            log.warning("reconcile.restore_held", todo=hold.HELD)
        else:
            yield self._request_missing_operations
            yield self._try_again
        yield self._check_servers
        yield self._check_common_server
        if not hold.is_held(self._backend.database):
            yield self._check_routes
            yield self._fit_servers
            yield self._remove_orphans
            yield self._correct_sizes
            yield self._prune

    # --- parts ----------------------------------------------------------------------------

    def _notice_restore(self, _: Operation) -> None:
        self._backend.witness.look()

    def _tend(self, _: Operation) -> None:
        """Restore the isolation of instances on this machine; ``Guard`` does fewer checks."""
        tend(self._backend.cloud, wholly=True)

    def _request_missing_operations(self, operation: Operation) -> None:
        with operation.transaction() as connection:
            for resource in audit.without_operation(connection):
                log.info("reconcile.operation_requested", resource=resource)
                enqueue(connection, resource)

    def _try_again(self, operation: Operation) -> None:
        with operation.transaction() as connection:
            failed.try_again(connection, self._backend.settings.worker.reconcile_interval)

    def _check_servers(self, operation: Operation) -> None:
        with self._backend.database.read() as connection:
            servers = audit.active_servers(connection)
            served = self._served_shares(connection)
            busy = audit.busy(connection)
        driver = self._backend.driver(None)
        for server, answer in self._probe(driver, servers):
            with alone("check_servers", share_server_id=server["id"]):
                if answer is not None:
                    here = served.get(server["id"], [])
                    self._check_server(operation, driver, server, answer, here, busy)

    def _check_server(
        self,
        operation: Operation,
        driver: GenericShareDriver,
        server: ShareServer,
        answer: Report | AtollError,
        here: list[Share],
        busy: set[str],
    ) -> None:
        key = server_key(server["id"])
        if isinstance(answer, AtollError):
            if Answer.of(answer) != Answer.SILENT:
                raise answer
            self._ask(operation, [key], str(answer))
            if server["unhealthy_since"] is None:
                with operation.transaction() as connection:
                    share_servers.change(connection, server["id"], unhealthy_since=time.time())
            return
        try:
            self._check_shares(operation, driver, here, busy, *answer)
        finally:  # the server has answered, even if the check of its shares failed
            if server["unhealthy_since"] is not None:
                self._ask(operation, [key], "it answers again")
            elif not answer[0].nfs_running:
                self._ask(operation, [key], "its NFS server does not run")

    def _check_common_server(self, operation: Operation) -> None:
        """Check the common server, which serves all shares where there are no share servers."""
        driver = self._backend.driver(None)
        if driver.driver_handles_share_servers:
            return
        with self._backend.database.read() as connection:
            here = self._served_shares(connection).get("", [])
            busy = audit.busy(connection)
        if not here:
            return
        manager = driver.service_instance_manager
        health = manager.health(manager.get_common_server())
        usage = driver.get_share_usage(None)
        self._check_shares(operation, driver, here, busy, health, usage)

    def _served_shares(self, connection: Connection) -> dict[str, list[Share]]:
        """Shares at rest by share server, with the rules that must be in force."""
        served = audit.served_shares(connection)
        if restores.held(connection) is not None:  # present exports stay as they are
            for share in itertools.chain(*served.values()):
                del share["access_rules"]
        return served

    def _check_routes(self, operation: Operation) -> None:
        with self._backend.database.read() as connection:
            servers = audit.active_servers(connection)
        for server in routes.unplugged(self._backend.cloud, servers):
            reason = "its subnet is not plugged into its router"
            self._ask(operation, [server_key(server["id"])], reason)

    def _check_shares(
        self,
        operation: Operation,
        driver: GenericShareDriver,
        served: list[Share],
        busy: set[str],
        health: Health,
        usage: dict[str, ShareUsage],
    ) -> None:
        """Request repairs of shares that an instance doesn't serve as it should."""
        here = [share for share in served if share_key(share["id"]) not in busy]
        for share in here:
            with alone("check_shares", share_id=share["id"]):
                if difference := driver.differences(share, health):
                    is_detached = self._is_detached(share)  # until the repair begins
                    self._ask(operation, [share_key(share["id"])], difference)
                    if is_detached:
                        self._tell_of_detachment(operation, share)
        with alone("note_file_systems"):
            file_systems.note(operation, here, health)
        self._note_usage(operation, here, usage)

    def _is_detached(self, share: Share) -> bool:
        volume = self._backend.cloud.volumes.find_volume(share_key(share["id"]))
        return volume is not None and volume.instance_id is None

    def _tell_of_detachment(self, operation: Operation, share: Share) -> None:
        text = (
            "The share was not served: its volume had been detached from the service "
            "instance. It is attached again."
        )
        with operation.transaction() as connection:
            tell(connection, operation, share, Resource.SHARE, Action.UPDATE, text)

    def _probe(self, driver: GenericShareDriver, servers: Iterable[ShareServer]) -> Iterable[Probe]:
        """Each server's answer, or the error that shows that it does not serve.

        The answer is None if the check itself failed, so that nothing is known about the server.
        """

        def ask(server: ShareServer) -> Probe:
            answer: Report | AtollError | None = None
            with alone("probe", share_server_id=server["id"]):
                manager, details = driver.service_instance_manager, server["backend_details"]
                try:
                    if manager.instance_is_off(details, or_failed=False):
                        raise ServiceInstanceUnavailable("The service instance is off, or gone.")
                    health = manager.health(details)
                    answer = health, driver.get_share_usage(None, server)
                except AtollError as error:
                    answer = error
            return server, answer

        with ThreadPoolExecutor(PROBES, thread_name_prefix="probe") as pool:
            yield from pool.map(ask, servers)

    def _note_usage(
        self, operation: Operation, here: list[Share], usage: dict[str, ShareUsage]
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
                shares.change(connection, share_id, used_bytes=used_bytes)

    def _fit_servers(self, operation: Operation) -> None:
        now = time.time()
        before = now - self._backend.settings.driver.unused_share_server_cleanup_interval
        with operation.transaction() as connection:
            audit.idle_not_later_than(connection, now)
            for server_id in audit.idle_servers(connection, before):
                share_servers.change(connection, server_id, status=ServerStatus.DELETING)
                enqueue(connection, server_key(server_id))
            server_choice.keep_warm(connection, self._backend.settings)

    def _compare_orphans(self, operation: Operation) -> None:
        """Find orphans. Those that are new to the database show that it was restored."""
        self._found = Found([], {})
        self._found = self._orphans.find()
        with operation.transaction() as connection:
            witness.note_unknown(connection, self._found)

    def _remove_orphans(self, operation: Operation) -> None:
        """Remove orphans whose rows a handler has removed; log the other orphans."""
        for kind, error in self._found.unseen.items():
            with alone("remove_orphans", thing=kind):
                raise error
        for orphan in self._found.orphans:
            operation.check()
            about = {"thing": orphan.kind, "id": orphan.id, "owner": orphan.owner}
            if not orphan.may_go:
                log.error("reconcile.orphan_kept", **about)
                continue
            log.warning("reconcile.orphan_removed", **about)
            with alone("remove_orphans", **about):  # another orphan may depend on it
                self._orphans.remove(orphan, operation.check_fence)

    def _correct_sizes(self, operation: Operation) -> None:
        """Raise the sizes in rows to at least what the cloud provides."""
        for resource in charges.correct(operation, self._backend):
            log.warning("reconcile.size_corrected", resource=resource)

    def _prune(self, operation: Operation) -> None:
        with operation.transaction() as connection:
            messages.prune(connection)
            owners.prune(connection)

    def _ask(self, operation: Operation, resources: Iterable[str], reason: str) -> None:
        with operation.transaction() as connection:
            for resource in resources:
                log.info("reconcile.repair_requested", resource=resource, reason=reason)
                enqueue(connection, resource)
