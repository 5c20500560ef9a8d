"""A share server: one service instance on one subnet of a share network.

In the state ``creating`` the server is set up, and in ``deleting`` it is removed. An ``active``
server that has failed is recovered: its instance is rebooted, and if that does not help, replaced
by a new instance with the same ports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection

from atoll.db import owners, placement, private_data, share_servers, shares, subnets
from atoll.db.messages import Action, Detail, Resource
from atoll.driver.answer import Answer
from atoll.driver.fence import ENDED_ID
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import (
    CloudError,
    InstanceMayStillRun,
    OutOfCapacity,
    Postponed,
    ServiceInstanceException,
    ServiceInstanceUnavailable,
)
from atoll.lifecycle import access, hold, routes
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.examination import examine, silent_since
from atoll.lifecycle.message import sentence, tell, telling_of_delay
from atoll.lifecycle.recovery import Cure, Diagnosis
from atoll.model.keys import network_key, server_key, share_key
from atoll.model.records import Share, ShareServer
from atoll.model.states import SHARES_SERVED, FencingState, ServerStatus, ShareStatus

log = structlog.get_logger(__name__)

CURES: Final = "cures"
"""The lane of operations that restart or replace an instance, so that few do so at once."""

CURED = Counter(
    "atoll_share_server_checks_total",
    "Checks of share servers that were requested, by what was done",
    ["cure"],
)


@contextmanager
def taking_turns(operation: Operation) -> Iterator[None]:
    """Restart or replace an instance only while few others are. Raises ``LaneFull`` to wait."""
    operation.set_lane(CURES)
    try:
        yield
    finally:
        operation.set_lane("")  # the next look at the server needs no turn


class ShareServerHandler:
    """Handles share servers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def converge(self, operation: Operation) -> None:
        """Set up, remove or recover the server, as the row's status asks."""
        with self._backend.database.read() as connection:
            server = share_servers.get(connection, operation.resource_id)
        if server is None:
            return
        verbs: dict[ServerStatus, tuple[Callable[[Operation, ShareServer], None], Action]] = {
            ServerStatus.CREATING: (self._set_up, Action.CREATE),
            ServerStatus.DELETING: (self._take_down, Action.DELETE),
            ServerStatus.ACTIVE: (self._recover, Action.UPDATE),
        }
        if server["status"] in verbs:
            verb, action = verbs[server["status"]]

            def waiting(connection: Connection) -> list[Share]:
                return shares.where(connection, share_server_id=server["id"])

            with telling_of_delay(operation, waiting, Resource.SHARE, action):
                verb(operation, server)

    def give_up(self, operation: Operation, error: Exception) -> None:
        """Set the server to error; the operations of shares that wait for it then fail."""
        with operation.transaction() as connection:
            server = share_servers.lock(connection, operation.resource_id)
            if server is None:
                return
            is_active = server["status"] == ServerStatus.ACTIVE
            is_served = is_active and server["unhealthy_since"] is None
            if is_served and isinstance(error, InstanceMayStillRun):
                return  # only its renewal has failed
            here = shares.where(connection, share_server_id=server["id"])
            text = sentence(operation, error)
            if is_active:
                # It still does not answer. The reconcile pass will request another check.
                text = f"The share can't be served at the moment. {text}"
                for share in here:
                    tell(connection, operation, share, Resource.SHARE, Action.UPDATE, text)
                return
            share_servers.change(connection, server["id"], status=ServerStatus.ERROR)
            if server["status"] == ServerStatus.CREATING:
                detail = Detail.NO_SHARE_SERVER
                for share in here:
                    tell(connection, operation, share, Resource.SHARE, Action.CREATE, text, detail)

    def _set_up(self, operation: Operation, server: ShareServer) -> None:
        info = self._network_info(server)

        def on_active(instance_id: str) -> None:
            """Let the waiting shares attach their volumes while the instance is still booting."""
            with operation.transaction() as connection:
                share_servers.change(connection, server["id"], identifier=instance_id)
                for share in shares.where(connection, share_server_id=server["id"]):
                    enqueue(connection, share_key(share["id"]))

        driver = self._backend.driver(operation)
        details = driver.setup_server(info, on_active=on_active)
        with operation.transaction() as connection:
            share_servers.change(
                connection,
                server["id"],
                status=ServerStatus.ACTIVE,
                identifier=details.get("instance_id"),
                backend_details=details,
                idle_since=time.time(),
                unhealthy_since=None,
            )

    def _network_info(self, server: ShareServer) -> list[dict[str, Any]]:
        """The ``network_info`` of the contract's ``setup_server``, with one entry per subnet."""
        if server["share_network_subnet_id"] is None:
            return [{"server_id": server["id"]}]  # a warm server, on the service network only
        with self._backend.database.read() as connection:
            subnet = subnets.get(connection, server["share_network_subnet_id"])
        if subnet is None:
            raise ServiceInstanceException(public="The share network's subnet is gone.")
        if subnet["cidr"] is None:
            raise Postponed(
                "The share server waits for its network.",
                waits_for=network_key(subnet["share_network_id"]),
            )
        return [
            {
                "server_id": server["id"],
                "neutron_net_id": subnet["neutron_net_id"],
                "neutron_subnet_id": subnet["neutron_subnet_id"],
                "cidr": subnet["cidr"],
                "segmentation_id": subnet["segmentation_id"],
                "network_type": subnet["network_type"],
                "ip_version": subnet["ip_version"],
                "security_services": [],
                "network_allocations": [],
                "admin_network_allocations": [],
                "backend_details": server["backend_details"],
                "subnet_metadata": subnet["metadata"],
            }
        ]

    def _take_down(self, operation: Operation, server: ShareServer) -> None:
        with operation.transaction() as connection:
            needed = placement.count_shares(connection, server["id"]) > 0
            if needed:
                share_servers.change(connection, server["id"], status=ServerStatus.ACTIVE)
        if needed:
            log.warning("share_server.kept", share_server_id=server["id"], reason="it has shares")
            return
        why = ""
        if hold.is_held(self._backend.database):
            why = hold.HELD
        elif hold.serves_volumes(self._backend.cloud, server):
            why = "its instance serves volumes of shares that the database does not know"
        if why:
            log.error("share_server.kept", share_server_id=server["id"], reason=why)
            with operation.transaction() as connection:
                share_servers.change(
                    connection, server["id"], status=ServerStatus.ACTIVE, idle_since=time.time()
                )
            return
        driver = self._backend.driver(operation)
        driver.teardown_server({"server_id": server["id"], **server["backend_details"]})
        with operation.transaction() as connection:
            owners.remove(connection, "share_server", server["id"])

    def _recover(self, operation: Operation, server: ShareServer) -> None:
        """Check that the server answers; start, reboot or replace its instance if it does not."""
        details = {"server_id": server["id"], **server["backend_details"]}
        found = examine(self._backend, server, details)
        cure = self._cure(found)
        CURED.labels(cure).inc()
        match cure:
            case Cure.RENEW:
                self._renew(operation, server, details)
            case Cure.SERVE_AGAIN:
                self._start_nfs(operation, details, found)
                self._serve_again(operation, server, details)
            case Cure.WAIT if found.answer != Answer.SILENT:
                raise ServiceInstanceUnavailable(found.fault)
            case Cure.WAIT:
                is_doubtful = found.fencing.state == FencingState.DOUBTFUL
                unfenced = server["unfenced_instance"] if is_doubtful else None
                self._look_again(operation, server, found.fault, unfenced)
            case Cure.HOLD:
                self._hold(operation, server, found)
            case Cure.REBOOT:
                with taking_turns(operation):
                    self._reboot(operation, server, details)
            case Cure.REPLACE:
                with taking_turns(operation):
                    self._replace_lost(operation, server, details)
            case Cure.ASK_OPERATOR:
                lost = details["instance_id"]
                doubt = InstanceMayStillRun(found.fencing.reason, instance_id=lost)
                self._ask_operator(operation, server, doubt)
            case Cure.NOTHING:
                routes.reconnect(self._backend, operation, server)

    def _start_nfs(
        self, operation: Operation, details: Mapping[str, str], found: Diagnosis
    ) -> None:
        if found.answer == Answer.NOT_SERVING:
            self._backend.driver(operation).service_instance_manager.start_nfs(details)

    def _cure(self, found: Diagnosis) -> Cure:
        options = self._backend.settings.driver
        cure = found.cure(options.replace_dead_after, options.replace_after_reset)
        return hold.spared(cure, found) if hold.is_held(self._backend.database) else cure

    def _reboot(
        self, operation: Operation, server: ShareServer, details: Mapping[str, str]
    ) -> None:
        """Reset the instance, or replace it if the cloud can't."""
        key = server["id"]
        log.warning("share_server.reboot_started", share_server_id=key)
        try:
            self._backend.driver(operation).service_instance_manager.reboot_server(details)
        except CloudError as error:
            if error.retryable or isinstance(error, OutOfCapacity):
                raise
            log.warning("share_server.reboot_failed", share_server_id=key, error=str(error))
            self._replace_lost(operation, server, details)
        else:
            self._backend.silences.reset(key)
            self._look_again(operation, server, "It was rebooted.")

    def _renew(self, operation: Operation, server: ShareServer, details: Mapping[str, str]) -> None:
        """Replace an instance that serves by one with the newest image."""
        newest = self._backend.cloud.images.service_image().id
        if details.get("image_id") == newest:
            self._serve_again(operation, server, details)
            with operation.transaction() as connection:
                share_servers.change(connection, server["id"], renewal_wanted=False)
            return
        fencing = self._backend.cloud.compute.fencing(details["instance_id"])
        if fencing.state == FencingState.DOUBTFUL:
            raise InstanceMayStillRun(fencing.reason, instance_id=details["instance_id"])
        with self._backend.database.read() as connection:
            here = shares.on_server(connection, server["id"], SHARES_SERVED)
        self._backend.driver(operation).hold_still(server, [share["id"] for share in here])
        self._replace(operation, server, details, why="is of an older image")

    def _replace_lost(
        self, operation: Operation, server: ShareServer, details: Mapping[str, str]
    ) -> None:
        """Replace an instance that does not answer, or ask an operator whether it has ended."""
        try:
            self._replace(operation, server, details)
        except InstanceMayStillRun as doubt:
            self._ask_operator(operation, server, doubt)

    def _replace(
        self,
        operation: Operation,
        server: ShareServer,
        details: Mapping[str, str],
        *,
        why: str = "was lost",
    ) -> None:
        lost = details["instance_id"]
        about = {"share_server_id": server["id"], "instance": lost, "reason": why}
        log.warning("share_server.replacement_started", **about)
        driver = self._backend.driver(operation)
        with self._backend.database.read() as connection:
            here = shares.on_server(connection, server["id"], SHARES_SERVED)
        details = driver.service_instance_manager.replace_service_instance(
            operation,
            details,
            serve=lambda new: self._serve_shares(operation, server, new),
            on_active=lambda new: driver.plug_in_early([share["id"] for share in here], new),
        )
        self._serve_again(operation, server, details)
        text = (
            f"The share's service instance {why}. A new instance has replaced it, at the same "
            "address and with the same shares. Clients continue automatically."
        )
        with operation.transaction() as connection:
            # Every replacement boots the newest image.
            share_servers.change(connection, server["id"], renewal_wanted=False)
            for share in shares.where(connection, share_server_id=server["id"]):
                tell(connection, operation, share, Resource.SHARE, Action.UPDATE, text)

    def _hold(self, operation: Operation, server: ShareServer, found: Diagnosis) -> None:
        """Leave the instance alone until an operator confirms. Raises an error that says so."""
        if hold.is_held(self._backend.database):
            log.error("share_server.cure_held", share_server_id=server["id"], reason=hold.HELD)
            self._look_again(operation, server, hold.HELD)
        log.error(
            "share_server.cure_held",
            share_server_id=server["id"],
            silent=found.silent_together,
            active=found.active,
        )
        self._look_again(
            operation,
            server,
            f"{found.silent_together} of {found.active} service instances fell silent together, "
            "so the cause is probably on Atoll's side: a network, a route, a bastion. Nothing is "
            "restarted. If the instance itself is at fault: 'atoll server recover "
            f"{server['id']}'.",
        )

    def _ask_operator(
        self, operation: Operation, server: ShareServer, doubt: InstanceMayStillRun
    ) -> None:
        """Record that an operator must look at an instance. Raises an error that says so.

        The next look continues if the host has come back, or if the operator has confirmed.
        """
        log.error(
            "share_server.operator_needed",
            share_server_id=server["id"],
            instance=doubt.instance_id,
            reason=str(doubt),
        )
        self._look_again(
            operation,
            server,
            f"Instance {doubt.instance_id} has to be replaced, but may still run and write: "
            f"{doubt.message} If it does not run any more: 'atoll server fence {server['id']}'.",
            doubt.instance_id,
        )

    def _look_again(
        self, operation: Operation, server: ShareServer, why: str, unfenced: str | None = None
    ) -> None:
        """Record since when the server has been silent, and raise an error; a retry checks again.

        ``unfenced`` is the instance that an operator must look at. Raises
        ``ServiceInstanceUnavailable``.
        """
        since = silent_since(server)
        if (server["unhealthy_since"], server["unfenced_instance"]) != (since, unfenced):
            with operation.transaction() as connection:
                share_servers.change(
                    connection, server["id"], unhealthy_since=since, unfenced_instance=unfenced
                )
        raise ServiceInstanceUnavailable(why) if why else ServiceInstanceUnavailable()

    def _serve_shares(
        self, operation: Operation, server: ShareServer, details: Mapping[str, str]
    ) -> None:
        """Let a replacement serve all shares that clients may have mounted.

        An error with one share does not stop the others; the share's own operation reports it.
        """
        here: ShareServer = {**server, "backend_details": dict(details)}
        with self._backend.database.read() as connection:
            served: list[Share] = [
                {**row, "access_rules": access.applied(connection, row["id"]), "share_server": here}
                for row in shares.on_server(connection, server["id"], SHARES_SERVED)
            ]
        updates = self._backend.driver(operation).ensure_shares(operation, served)
        operation.check()  # errors may mean that another worker has taken over
        for share_id, update in updates.items():
            if update["status"] == ShareStatus.ERROR:
                log.warning("share_server.share_failed", share_id=share_id, reason=update["reason"])

    def _serve_again(
        self, operation: Operation, server: ShareServer, details: Mapping[str, str]
    ) -> None:
        """Record that the server answers, and request an operation for each of its shares."""
        with operation.transaction() as connection:
            share_servers.change(
                connection,
                server["id"],
                unhealthy_since=None,
                cure_confirmed=False,
                unfenced_instance=None,
                identifier=details["instance_id"],
                backend_details=dict(details),
            )
            # What an operator has confirmed does not hold for an instance that has answered since.
            private_data.forget(connection, server_key(server["id"]), ENDED_ID)
            for share in shares.where(connection, share_server_id=server["id"]):
                enqueue(connection, share_key(share["id"]), lane=server["id"])
