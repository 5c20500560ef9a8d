"""Asking for work: ``enqueue`` puts a resource into the queue, in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import Connection

from atoll.db import operations
from atoll.engine import doorbell


def enqueue(
    connection: Connection,
    resource: str,
    *,
    lane: str = "",
    request_id: str | None = None,
    delay: float = 0.0,
) -> None:
    """Ask for ``resource`` (``share/<id>``) to be made what its row says.

    Part of the caller's transaction (``with database.begin() as connection``): it counts when
    that commits, and workers are woken then. Never refused: asking for a resource that is queued
    makes it due sooner, and one that is running is run once more.
    ``delay`` is in seconds. Of at most ``lane_width`` operations with the same ``lane`` (a share
    server's id) a worker runs at once. ``request_id`` names the user's request in the log.
    """
    operations.put(connection, resource, lane=lane, request_id=request_id, delay=delay)
    doorbell.ring(connection)
