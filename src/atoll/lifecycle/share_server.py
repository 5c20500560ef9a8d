"""A share server: one service instance on one subnet of a share network.

In the state ``creating`` the server is set up, and in ``deleting`` it is removed. An ``active``
server is checked, and repaired if it has failed (``server_repair``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import Connection

from atoll.db import owners, placement, share_servers, shares, subnets
from atoll.db.messages import Action, Detail, Resource
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import (
    InstanceMayStillRun,
    NotRenewed,
    Postponed,
    ServiceInstanceException,
)
from atoll.lifecycle import hold, stand_ins
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.message import sentence, tell, telling_of_delay
from atoll.lifecycle.server_repair import ServerRepair
from atoll.model.keys import network_key, share_key
from atoll.model.records import Share, ShareServer
from atoll.model.states import ServerStatus

log = structlog.get_logger(__name__)


class ShareServerHandler:
    """Handles share servers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._repair = ServerRepair(backend)

    def converge(self, operation: Operation) -> None:
        """Set up, remove or recover the server, as the row's status asks."""
        with self._backend.database.read() as connection:
            server = share_servers.get(connection, operation.resource_id)
        if server is None:
            return
        if server["stands_in_for"] and server["status"] != ServerStatus.DELETING:
            return  # its instance is the business of the server that uses it, whatever the status
        verbs: dict[ServerStatus, tuple[Callable[[Operation, ShareServer], None], Action]] = {
            ServerStatus.CREATING: (self._set_up, Action.CREATE),
            ServerStatus.DELETING: (self._take_down, Action.DELETE),
            ServerStatus.ACTIVE: (self._repair.run, Action.UPDATE),
        }
        if server["status"] in verbs:
            verb, action = verbs[server["status"]]

            def waiting(connection: Connection) -> list[Share]:
                return shares.where(connection, share_server_id=server["id"])

            with telling_of_delay(operation, waiting, Resource.SHARE, action):
                verb(operation, server)

    def give_up(self, operation: Operation, error: Exception) -> None:
        """Set the server to error; the operations of shares that wait for it then fail."""
        if isinstance(error, NotRenewed):
            self._repair.stay_with_old(operation)
            return
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
        stand_ins.release(self._backend, operation, server, {})
        with operation.transaction() as connection:
            owners.remove(connection, "share_server", server["id"])
