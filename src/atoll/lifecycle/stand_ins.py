"""Warm share servers whose instances stand in for lost ones, so that nothing waits for a boot.

The row of the warm server remains as long as its instance is used, because the instance and the
port at which Atoll reaches it are tagged with its id (decision 31).
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.db import placement, share_servers
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import CloudError
from atoll.lifecycle import hold, server_choice
from atoll.lifecycle.backend import Backend
from atoll.model.keys import server_key
from atoll.model.records import ShareServer
from atoll.model.states import InstanceStatus, ServerStatus


def is_ready(backend: Backend) -> bool:
    """Whether an instance could stand in for a lost one now."""
    if not _may_stand_in(backend):
        return False
    with backend.database.begin() as connection:
        warm = placement.take_warm(connection, backend.settings.backend_host)
    if warm is None:
        return False
    try:
        instance = backend.cloud.compute.get_instance(warm["identifier"] or "")
    except CloudError:
        return False
    return instance is not None and instance.status == InstanceStatus.ACTIVE


def take(backend: Backend, operation: Operation, server: ShareServer, lost: str) -> str | None:
    """Id of the warm server whose instance stands in for the instance ``lost``; None if none can.

    One that an interrupted call has taken is taken again.
    """
    if not _may_stand_in(backend):
        return None
    newest = backend.cloud.images.service_image().id if server["renewal_wanted"] else None
    with operation.transaction() as connection:
        for taken in share_servers.where(connection, stands_in_for=server["id"]):
            if taken["backend_details"].get("instance_id") != lost:
                return taken["id"]
        warm = placement.take_warm(connection, server["host"])
        if warm is None or newest not in (None, warm["backend_details"].get("image_id")):
            return None
        share_servers.change(
            connection,
            warm["id"],
            status=ServerStatus.INACTIVE,
            stands_in_for=server["id"],
            identifier=None,
        )
        return warm["id"]


def release(
    backend: Backend, operation: Operation, server: ShareServer, details: Mapping[str, str]
) -> None:
    """Have the servers removed whose instances the server does not use any more.

    ``details`` are those of the instance that it uses. Other warm servers are made in their place.
    """
    with operation.transaction() as connection:
        for taken in share_servers.where(connection, stands_in_for=server["id"]):
            if taken["backend_details"].get("instance_id") != details.get("instance_id"):
                share_servers.change(
                    connection, taken["id"], status=ServerStatus.DELETING, stands_in_for=None
                )
                enqueue(connection, server_key(taken["id"]))
        server_choice.keep_warm(connection, backend.settings)


def _may_stand_in(backend: Backend) -> bool:
    # A server behind a router has its address in a subnet of its own, with its instance's first
    # interface.
    direct = backend.settings.driver.connect_share_server_to_tenant_network
    return direct and not hold.is_held(backend.database)
