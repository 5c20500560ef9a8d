"""What has failed for a cause that may be gone by now: it is asked for again, ever less often.

A share that never came to be goes back to ``creating``, one that could not grow to ``extending``,
and the share server that it waited for to ``creating``, too. What has only been *set* to such a
state by an administrator has no failed operation, and is left alone; so are snapshots, whose moment
has passed, and deletions.
"""

from __future__ import annotations

import time

import structlog
from sqlalchemy import Connection

from atoll.db import audit, rows
from atoll.db.rows import Row
from atoll.db.tables import share_servers, shares
from atoll.engine.queue import enqueue

log = structlog.get_logger(__name__)

LONGEST_PAUSE = 3600.0
"""Seconds between two tries, at most."""


def try_again(connection: Connection, first_pause: float) -> None:
    """Ask for all that is due; each failure doubles the pause, which begins as ``first_pause``."""
    unmade, networks = audit.unmade_shares(connection), audit.failed_networks(connection)
    if not unmade and not networks:
        return
    failures = audit.failures(connection)

    def is_due(resource: str) -> bool:
        count, last = failures.get(resource, (0, 0.0))
        pause = min(LONGEST_PAUSE, first_pause * 2.0 ** min(count - 1, 30))
        return count > 0 and time.time() - last >= pause

    for share in unmade:
        if is_due(f"share/{share['id']}"):
            _want_share(connection, share)
    for network_id in networks:
        if is_due(f"share_network/{network_id}"):
            log.info("failed.tried_again", resource=f"share_network/{network_id}")
            enqueue(connection, f"share_network/{network_id}")


def _want_share(connection: Connection, share: Row) -> None:
    wanted = "creating_from_snapshot" if share["snapshot_id"] else "creating"
    if share["status"] == "extending_error":
        wanted = "extending"
    log.info("failed.tried_again", resource=f"share/{share['id']}", wanted=wanted)
    rows.change(connection, shares, share["id"], status=wanted)
    enqueue(connection, f"share/{share['id']}")
    server = rows.get(connection, share_servers, share["share_server_id"] or "")
    if server is not None and server["status"] == "error":
        rows.change(connection, share_servers, server["id"], status="creating")
        enqueue(connection, f"share_server/{server['id']}")
