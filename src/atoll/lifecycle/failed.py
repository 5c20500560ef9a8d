"""Retries failed work, in growing intervals, because the cause may be gone by now.

A share that was never created goes back to ``creating``, one that could not be extended to
``extending``, and the share server that it waited for also to ``creating``. A resource that an
administrator has only *set* to such a state has no failed operation, and is left alone. Snapshots
are not retried, because their point in time has passed, and neither are deletions.
"""

from __future__ import annotations

import time

import structlog
from sqlalchemy import Connection

from atoll.db import audit, share_servers, shares
from atoll.engine.queue import enqueue
from atoll.model.keys import network_key, server_key, share_key
from atoll.model.records import Share
from atoll.model.states import ServerStatus, ShareStatus

log = structlog.get_logger(__name__)

LONGEST_PAUSE = 3600.0
"""Seconds between two tries, at most."""


def try_again(connection: Connection, first_pause: float) -> None:
    """Request all that is due; each failure doubles the pause, which starts at ``first_pause``."""
    unmade, networks = audit.unmade_shares(connection), audit.failed_networks(connection)
    if not unmade and not networks:
        return
    failures = audit.failures(connection)

    def is_due(resource: str) -> bool:
        count, last = failures.get(resource, (0, 0.0))
        pause = min(LONGEST_PAUSE, first_pause * 2.0 ** min(count - 1, 30))
        return count > 0 and time.time() - last >= pause

    for share in unmade:
        if is_due(share_key(share["id"])):
            _want_share(connection, share)
    for network_id in networks:
        if is_due(network_key(network_id)):
            log.info("reconcile.failure_retried", resource=network_key(network_id))
            enqueue(connection, network_key(network_id))


def _want_share(connection: Connection, share: Share) -> None:
    wanted = ShareStatus.CREATING
    if share["snapshot_id"]:
        wanted = ShareStatus.CREATING_FROM_SNAPSHOT
    if share["status"] == ShareStatus.EXTENDING_ERROR:
        wanted = ShareStatus.EXTENDING
    log.info("reconcile.failure_retried", resource=share_key(share["id"]), wanted=wanted)
    shares.change(connection, share["id"], status=wanted)
    enqueue(connection, share_key(share["id"]))
    server = share_servers.get(connection, share["share_server_id"] or "")
    if server is not None and server["status"] == ServerStatus.ERROR:
        share_servers.change(connection, server["id"], status=ServerStatus.CREATING)
        enqueue(connection, server_key(server["id"]))
