"""Checks a share server, and repairs it if its instance has failed.

The instance is rebooted, and if that does not help, replaced by a new one with the same ports.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import structlog
from prometheus_client import Counter, Histogram

from atoll.db import private_data, share_servers, shares
from atoll.db.messages import Action, Resource
from atoll.driver.answer import Answer
from atoll.driver.fence import ENDED_ID
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import (
    CloudError,
    GuestError,
    InstanceMayStillRun,
    NotRenewed,
    NotRenewedYet,
    OutOfCapacity,
    ServiceInstanceException,
    ServiceInstanceUnavailable,
    StaleFence,
)
from atoll.lifecycle import access, hold, routes, stand_ins
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.examination import examine, silent_since
from atoll.lifecycle.message import tell
from atoll.lifecycle.recovery import Cure, Diagnosis
from atoll.model.keys import server_key, share_key
from atoll.model.records import Share, ShareServer
from atoll.model.states import SHARES_SERVED, FencingState, ShareStatus

log = structlog.get_logger(__name__)

CURES: Final = "cures"
"""The lane of operations that restart or replace an instance, so that few do so at once."""

OUTAGE = Histogram(
    "atoll_share_server_outage_seconds",
    "Seconds from the moment a share server was found silent until it served its shares again",
    buckets=(5, 10, 20, 30, 45, 60, 120, 300, 900, 3600),
)
TOLD_AFTER: Final = 10.0
"""Seconds of silence after which users are told that their shares are served again."""

LOOK_SECONDS: Final = 3.0
"""Seconds between two looks at a server that may answer, or has to be reset, in a moment."""

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


@contextmanager
def keeping_the_old() -> Iterator[None]:
    """Raise ``NotRenewed`` for an error before the instance that serves was touched."""
    try:
        yield
    except StaleFence:
        raise
    except (CloudError, GuestError, ServiceInstanceException, ServiceInstanceUnavailable) as error:
        kind = NotRenewedYet if error.retryable else NotRenewed
        raise kind(
            f"The newer instance did not come up, so the old one goes on serving: {error}"
        ) from error


def _recover(server: ShareServer) -> str:
    """What an operator can do about an instance that is left alone, as a further sentence."""
    return f" If the instance itself is at fault: 'atoll server recover {server['id']}'."


class ServerRepair:
    """Repairs share servers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def run(self, operation: Operation, server: ShareServer) -> None:
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
                within = None if found.fault else LOOK_SECONDS
                why = found.fault + (_recover(server) if found.is_cut_off else "")
                self._look_again(operation, server, why, unfenced, within=within)
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
            self._look_again(operation, server, "It was rebooted.", within=LOOK_SECONDS)

    def _renew(self, operation: Operation, server: ShareServer, details: Mapping[str, str]) -> None:
        """Replace an instance that serves by one with the newest image.

        Raises ``NotRenewed`` if the old one was not touched.
        """
        old = details["instance_id"]
        driver = self._backend.driver(operation)
        with keeping_the_old():
            newest = self._backend.cloud.images.service_image().id
            fencing = driver.service_instance_manager.fence.look(server_key(server["id"]), old)
        if fencing.state == FencingState.DOUBTFUL:
            raise InstanceMayStillRun(fencing.reason, instance_id=old)
        if fencing.state == FencingState.PROVED:  # it has ended since it answered
            self._replace_lost(operation, server, details)
            return
        if details.get("image_id") == newest:
            self._serve_again(operation, server, details, is_newest=True)
            return
        with self._backend.database.read() as connection:
            here = shares.on_server(connection, server["id"], SHARES_SERVED)
        with keeping_the_old():
            if here:
                stand_ins.boot_ahead(self._backend, operation, server, old)
            driver.hold_still(server, [share["id"] for share in here])
        self._replace(operation, server, details, why="is of an older image")

    def stay_with_old(self, operation: Operation) -> None:
        """End a renewal that has failed before the instance that serves was touched."""
        with self._backend.database.read() as connection:
            server = share_servers.get(connection, operation.resource_id)
        if server is None:
            return
        stand_ins.release(self._backend, operation, server, server["backend_details"])
        with operation.transaction() as connection:
            share_servers.change(connection, server["id"], renewal_wanted=False)

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
            stand_in=stand_ins.take(self._backend, operation, server, lost),
        )
        text = (
            f"The share's service instance {why}. A new instance has replaced it, at the same "
            "address and with the same shares. Clients continue automatically."
        )
        self._serve_again(operation, server, details, text, is_newest=True)

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
            f"restarted.{_recover(server)}",
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
        self,
        operation: Operation,
        server: ShareServer,
        why: str,
        unfenced: str | None = None,
        *,
        within: float | None = None,
    ) -> None:
        """Record since when the server has been silent, and raise an error; a retry checks again.

        ``unfenced`` is the instance that an operator must look at. The retry follows ``within`` so
        many seconds, or after the usual back-off, where it may take long and concern many servers.
        Raises ``ServiceInstanceUnavailable``.
        """
        since = silent_since(server)
        if (server["unhealthy_since"], server["unfenced_instance"]) != (since, unfenced):
            with operation.transaction() as connection:
                share_servers.change(
                    connection, server["id"], unhealthy_since=since, unfenced_instance=unfenced
                )
        error = ServiceInstanceUnavailable(why) if why else ServiceInstanceUnavailable()
        error.retry_within = within
        raise error

    def _serve_shares(
        self, operation: Operation, server: ShareServer, details: Mapping[str, str]
    ) -> None:
        """Let a replacement serve all NFS shares that clients may have mounted.

        An error with one share does not stop the others; the share's own operation reports it.
        SMB shares are served afterwards, by their own operations: Samba takes longer to start, and
        only clients of NFS get errors from a server that runs without exports.
        """
        here: ShareServer = {**server, "backend_details": dict(details)}
        with self._backend.database.read() as connection:
            served: list[Share] = [
                {**row, "access_rules": access.applied(connection, row["id"]), "share_server": here}
                for row in shares.on_server(connection, server["id"], SHARES_SERVED)
                if row["share_proto"] == "NFS"
            ]
        updates = self._backend.driver(operation).ensure_shares(operation, served)
        operation.check()  # errors may mean that another worker has taken over
        for share_id, update in updates.items():
            if update["status"] == ShareStatus.ERROR:
                log.warning("share_server.share_failed", share_id=share_id, reason=update["reason"])

    def _serve_again(
        self,
        operation: Operation,
        server: ShareServer,
        details: Mapping[str, str],
        text: str = "",
        *,
        is_newest: bool = False,
    ) -> None:
        """Record that the server answers, and request an operation for each of its shares.

        Users are told ``text``, or that their shares are served again after a silence.
        ``is_newest`` says that the instance has the image that was asked for.
        """
        if server["unhealthy_since"] is not None:
            seconds = time.time() - silent_since(server)
            OUTAGE.observe(seconds)
            if seconds >= TOLD_AFTER and not text:
                text = (
                    f"The share's service instance did not answer for {seconds:.0f} seconds. It "
                    "serves the share again, and clients continue automatically."
                )
        # This comes first: once the server counts as served, no later look releases the others.
        stand_ins.release(self._backend, operation, server, details)
        with operation.transaction() as connection:
            if is_newest:
                share_servers.change(connection, server["id"], renewal_wanted=False)
            elif server["renewal_wanted"]:
                enqueue(connection, server_key(server["id"]))
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
                if text:
                    tell(connection, operation, share, Resource.SHARE, Action.UPDATE, text)
