"""The way of clients to share servers behind a user's router (the routed layout).

A user may delete the router and make another, or unplug Atoll's interface. Then clients can't reach
the shares, although everything else is in order.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from atoll.cloud.base import Cloud
from atoll.db import share_servers, shares
from atoll.db.messages import Action, Resource
from atoll.driver.network.neutron import ROUTER
from atoll.engine.operation import Operation
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.message import tell
from atoll.model.keys import server_key
from atoll.model.records import ShareServer

log = structlog.get_logger(__name__)

RECONNECTED = (
    "Clients could not reach the share, because its service subnet was not plugged into the router "
    "of its share network any more. It is plugged in again."
)


def unplugged(cloud: Cloud, servers: Iterable[ShareServer]) -> list[ShareServer]:
    """The servers whose service subnet is not plugged into the router that was recorded for it."""
    routed = [server for server in servers if server["backend_details"].get(ROUTER)]
    if not routed:
        return []
    plugged = {subnet.owner: subnet.router_id for subnet in cloud.networks.list_subnets()}
    return [
        server
        for server in routed
        if (owner := server_key(server["id"])) in plugged
        and plugged[owner] != server["backend_details"][ROUTER]
    ]


def reconnect(backend: Backend, operation: Operation, server: ShareServer) -> None:
    """Plug the server's service subnet into the router of its share network, if it is not.

    Raises ``ServiceInstanceException``, with what the user can do, if there is no such router.
    """
    if not unplugged(backend.cloud, [server]):
        return
    helper = backend.driver(operation).service_instance_manager.network_helper
    helper.let_clients_in(server["id"])
    details = {**server["backend_details"], **helper.details(server["id"])}
    log.warning("share_server.reconnected", share_server_id=server["id"], router=details[ROUTER])
    with operation.transaction() as connection:
        share_servers.change(connection, server["id"], backend_details=details)
        for share in shares.where(connection, share_server_id=server["id"]):
            tell(connection, operation, share, Resource.SHARE, Action.UPDATE, RECONNECTED)
