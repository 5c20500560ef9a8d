"""``atoll server``: share servers, and which service image their instances boot.

An upgrade marks the servers' rows, one after another, and waits until the workers have replaced the
instance. So it may be interrupted and started again at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from atoll.cli.clouds import open_own_cloud
from atoll.config import Settings
from atoll.db import operations, placement, share_servers
from atoll.db.database import Database
from atoll.engine.queue import enqueue
from atoll.errors import Conflict, NotFound
from atoll.lifecycle import hold
from atoll.model.keys import server_key
from atoll.model.records import ShareServer
from atoll.model.states import UNFINISHED_OPERATIONS, ServerStatus

LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Server:
    """A share server, with what matters for an upgrade."""

    id: str
    status: str
    instance: str
    shares: int
    image: str
    """The image of its instance; empty if an older version made the instance."""
    is_current: bool
    """Whether a new instance would boot the same image."""
    silent_since: str
    """Since when its instance has not answered (UTC); empty if it answers."""
    unfenced: str
    """The instance that an operator must look at, because it may still run; usually empty."""
    stands_in_for: str
    """The share server that uses its instance instead of its own, which was lost; usually empty."""


def newest_image(settings: Settings, database: Database) -> str:
    """Id of the image that a new instance would boot. Raises ``CloudNotFound``."""
    with closing(open_own_cloud(settings, database)) as cloud:
        return cloud.images.service_image().id


def listed(settings: Settings, database: Database) -> list[Server]:
    """All share servers, oldest first."""
    newest = newest_image(settings, database)
    with database.read() as connection:
        return [
            _seen(row, newest, placement.count_shares(connection, row["id"]))
            for row in share_servers.where(connection)
        ]


def _seen(row: ShareServer, newest: str, shares: int) -> Server:
    image = str(row["backend_details"].get("image_id", ""))
    silent = row["unhealthy_since"]
    return Server(
        row["id"],
        row["status"],
        row["identifier"] or "",
        shares,
        image,
        image == newest,
        datetime.fromtimestamp(silent, UTC).isoformat(timespec="seconds") if silent else "",
        row["unfenced_instance"] or "",
        row["stands_in_for"] or "",
    )


def outdated(servers: Iterable[Server], only: Iterable[str] = ()) -> list[Server]:
    """The active servers with an older image; with ``only``, those of these ids.

    Raises ``NotFound`` for an unknown id.
    """
    by_id = {server.id: server for server in servers}
    for server_id in only:
        if server_id not in by_id:
            raise NotFound(f"There is no share server {server_id}.")
    wanted = set(only) or set(by_id)
    return [
        server
        for server in by_id.values()
        if server.id in wanted
        and server.status == ServerStatus.ACTIVE
        and not server.is_current
        and not server.stands_in_for
    ]


def upgrade(
    database: Database, servers: Iterable[Server], seconds: float, tell: Callable[[str], None]
) -> None:
    """Request a new instance for one server after another, and wait ``seconds`` for each.

    Raises ``Conflict`` at the first failure; the other servers keep their instances.
    """
    if hold.is_held(database):
        raise Conflict(hold.HELD)
    for server in servers:
        tell(f"{server.id}: {server.shares} shares move to a new instance")
        ask(database, server.id)
        instance = _await(database, server, seconds)
        tell(f"{server.id}: instance {instance} serves")


def ask(database: Database, server_id: str) -> None:
    """Request a new instance, which a worker makes."""
    with database.begin() as connection:
        share_servers.change(connection, server_id, renewal_wanted=True)
        enqueue(connection, server_key(server_id), request_id="atoll server upgrade")


def recover(database: Database, only: Iterable[str]) -> list[str]:
    """Confirm that silent servers are themselves at fault, so that their instances are restarted.

    With an empty ``only`` these are all silent servers. Returns their ids. Raises ``NotFound`` for
    an unknown id, and ``Conflict`` for a server that answers.
    """
    wanted = list(only)
    with database.begin() as connection:
        by_id = {row["id"]: row for row in share_servers.where(connection)}
        for server_id in wanted:
            if server_id not in by_id:
                raise NotFound(f"There is no share server {server_id}.")
            if by_id[server_id]["unhealthy_since"] is None:
                raise Conflict(f"The share server {server_id} answers, so there is nothing to do.")
        silent = wanted or [key for key, row in by_id.items() if row["unhealthy_since"] is not None]
        for server_id in silent:
            share_servers.change(connection, server_id, cure_confirmed=True)
            enqueue(connection, server_key(server_id), request_id="atoll server recover")
    return silent


def _await(database: Database, server: Server, seconds: float) -> str:
    """Wait for the new instance; return its id."""
    end = time.monotonic() + seconds
    while True:
        resource = server_key(server.id)
        with database.read() as connection:
            last = operations.latest(connection, resource)
        # A later snapshot is needed, so that the row has the operation's results.
        with database.read() as connection:
            row = share_servers.get(connection, server.id)
        if row is None or row["stands_in_for"]:
            return "(gone)"
        if row["backend_details"].get("image_id", "") != server.image:
            return str(row["identifier"])
        assert last is not None
        if last["status"] not in UNFINISHED_OPERATIONS or time.monotonic() > end:
            raise Conflict(
                f"The share server {server.id} got no new instance: "
                f"{last['error'] or f'no result within {seconds:g} seconds'}",
                hint="The other servers were not changed. See 'atoll operation list' and the guide "
                "about upgrades of the service image.",
            )
        time.sleep(LOOK_SECONDS)


def as_rows(servers: Iterable[Server]) -> list[dict[str, object]]:
    """The servers as rows for a table or JSON."""
    return [asdict(server) for server in servers]
