"""Warm share servers whose instances stand in for lost ones, so that nothing waits for a boot.

The row of the warm server remains as long as its instance is used, because the instance and the
port at which Atoll reaches it are tagged with its id (decision 31).
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from atoll.db import placement, share_servers
from atoll.engine.operation import Operation
from atoll.engine.queue import enqueue
from atoll.errors import CloudError, OutOfCapacity
from atoll.lifecycle import hold, server_choice
from atoll.lifecycle.backend import Backend
from atoll.model.keys import server_key
from atoll.model.records import ShareServer
from atoll.model.states import InstanceStatus, ServerStatus

log = structlog.get_logger(__name__)


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

    One that an interrupted call has taken is taken again. A warm server needs none itself.
    """
    if not _may_stand_in(backend) or server["share_network_subnet_id"] is None:
        return None
    newest = backend.cloud.images.service_image().id if server["renewal_wanted"] else None
    with operation.transaction() as connection:
        for taken in share_servers.where(connection, stands_in_for=server["id"]):
            instance, image = (
                taken["backend_details"].get(key, "") for key in ("instance_id", "image_id")
            )
            if instance not in ("", lost) and newest in (None, image):
                return taken["id"]
        warm = placement.take_warm(connection, server["host"], newest)
        if warm is None:
            return None
        share_servers.change(
            connection,
            warm["id"],
            status=ServerStatus.INACTIVE,
            stands_in_for=server["id"],
            identifier=None,
        )
        return warm["id"]


def boot_ahead(backend: Backend, operation: Operation, server: ShareServer, old: str) -> None:
    """Have an instance booted that ``take`` will find, while the instance ``old`` still serves.

    Without room for a second instance there is none, and the old one has to go before the new one
    boots. Raises the errors of ``setup_server``.
    """
    if not _may_stand_in(backend):
        return
    stand_in = take(backend, operation, server, old)
    if stand_in is None:
        stand_in = _row_to_boot(operation, server)
    try:
        details = backend.driver(operation).setup_server([{"server_id": stand_in}])
    except OutOfCapacity as error:
        log.warning("stand_in.no_room", share_server_id=server["id"], error=str(error))
        release(backend, operation, server, {"instance_id": old})
        return
    with operation.transaction() as connection:
        share_servers.change(connection, stand_in, backend_details=details)


def _row_to_boot(operation: Operation, server: ShareServer) -> str:
    """Id of a server without an instance that is to stand in; an interrupted call may have it."""
    with operation.transaction() as connection:
        for taken in share_servers.where(connection, stands_in_for=server["id"]):
            if not taken["backend_details"].get("instance_id"):
                return taken["id"]
        return server_choice.add(
            connection, server["host"], ServerStatus.INACTIVE, stands_in_for=server["id"]
        )


def release(
    backend: Backend, operation: Operation, server: ShareServer, details: Mapping[str, str]
) -> None:
    """Have the servers removed whose instances the server does not use any more.

    ``details`` are those of the instance that it uses.
    """
    with operation.transaction() as connection:
        lent = share_servers.where(connection, stands_in_for=server["id"])
        if not lent:
            return
        for taken in lent:
            if taken["backend_details"].get("instance_id") != details.get("instance_id"):
                share_servers.change(
                    connection, taken["id"], status=ServerStatus.DELETING, stands_in_for=None
                )
                enqueue(connection, server_key(taken["id"]))


def _may_stand_in(backend: Backend) -> bool:
    # A server behind a router has its address in a subnet of its own, with its instance's first
    # interface.
    direct = backend.settings.driver.connect_share_server_to_tenant_network
    return direct and not hold.is_held(backend.database)
