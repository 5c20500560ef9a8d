"""Chooses the share server of a share, and adds servers where one is missing."""

from __future__ import annotations

import time
import uuid
from typing import Final

from sqlalchemy import Connection

from atoll.config import Settings
from atoll.db import placement, restores, share_servers, subnets
from atoll.engine.queue import enqueue
from atoll.errors import ServiceInstanceException
from atoll.model.keys import COMMON_LANE, server_key
from atoll.model.records import Share, ShareServer, Subnet
from atoll.model.states import ServerStatus


def lane_of(server: ShareServer | None) -> str:
    """The lane of operations on a server's shares; None is the common server."""
    return server["id"] if server is not None else COMMON_LANE


def choose(
    connection: Connection, settings: Settings, share: Share, host: str, zone: str
) -> ShareServer:
    """Choose a server with room for the share on its share network, or add one.

    It belongs to the back end ``host``, and is on the network's subnet for the zone ``zone``.
    """
    subnet = _subnet_for(connection, share, zone)
    subnets.lock(connection, subnet["id"])
    for server in placement.candidates(connection, subnet["id"], host):
        if server["share_count"] < settings.driver.max_shares_per_share_server:
            return server
    warm = None
    if restores.held(connection) is None:  # a warm server of a backup may serve others by now
        warm = placement.take_warm(connection, host)
    server_id = warm["id"] if warm else add(connection, host)
    share_servers.change(
        connection,
        server_id,
        project_id=share["project_id"],
        share_network_subnet_id=subnet["id"],
        # A warm server also needs to be set up: it has no interface in this network yet.
        status=ServerStatus.CREATING,
    )
    enqueue(connection, server_key(server_id))
    keep_warm(connection, settings)
    chosen = share_servers.get(connection, server_id)
    assert chosen is not None
    return chosen


PATIENCES: Final = 5
"""A lent instance counts as warm for so many times ``replace_dead_after``, which is 40 s.

Clients of the lost instance come back meanwhile. On a host that runs both instances a boot
would take CPU from them, and those that are too late for the grace period lose their locks. Slow
hosts have a longer patience.
"""


def keep_warm(connection: Connection, settings: Settings) -> None:
    """Add servers until as many as configured are warm, ready for the next share network."""
    if not settings.driver.driver_handles_share_servers:
        return
    pause = PATIENCES * settings.driver.replace_dead_after
    warm = placement.count_warm(connection, settings.backend_host, pause)
    for _ in range(settings.driver.warm_service_instances - warm):
        enqueue(connection, server_key(add(connection, settings.backend_host)))


def add(
    connection: Connection,
    host: str,
    status: ServerStatus = ServerStatus.CREATING,
    stands_in_for: str | None = None,
) -> str:
    """Add a row for a server that has no share network yet; return its id."""
    server_id = str(uuid.uuid4())
    share_servers.add(
        connection,
        id=server_id,
        host=host,
        status=status,
        stands_in_for=stands_in_for,
        is_auto_deletable=True,
        renewal_wanted=False,
        backend_details={},
    )
    return server_id


def _subnet_for(connection: Connection, share: Share, zone: str) -> Subnet:
    known = subnets.of_network(connection, share["share_network_id"] or "")
    usable = [subnet for subnet in known if not subnet["deleting"]]
    for subnet in usable:
        if subnet["availability_zone"] == zone:
            return subnet
    for subnet in usable:
        if not subnet["availability_zone"]:
            return subnet
    raise ServiceInstanceException(
        public="The share network has no subnet in the share's availability zone."
    )


def note_if_idle(connection: Connection, server_id: str) -> None:
    """Record since when a server is idle if it has no shares left."""
    if placement.count_shares(connection, server_id) == 0:
        share_servers.change(connection, server_id, idle_since=time.time())
