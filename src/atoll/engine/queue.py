"""Requesting work: ``enqueue`` puts a resource into the queue, in the caller's transaction."""

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
    """Request that ``resource`` (``share/<id>``) be brought into the state that its row describes.

    The request is part of the caller's transaction (``with database.begin() as connection``). It
    takes effect when that commits, and workers are woken then. A request is never refused: a queued
    resource becomes due sooner, and a running one is run once more.
    ``delay`` is in seconds. A worker runs at most ``lane_width`` operations with the same ``lane``
    (a share server's id) at once. ``request_id`` identifies the user's request in the log.
    """
    operations.put(connection, resource, lane=lane, request_id=request_id, delay=delay)
    doorbell.ring(connection)
