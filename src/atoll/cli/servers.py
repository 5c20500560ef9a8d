"""``atoll server``: share servers, and which service image their instances boot.

An upgrade only says in each server's row that it is wanted, one row after another, and waits for
the workers to have done it. So it may be broken off and begun again at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass

from atoll.cli.clouds import open_own_cloud
from atoll.config import Settings
from atoll.db import operations, placement, share_servers
from atoll.db.database import Database
from atoll.engine.queue import enqueue
from atoll.errors import Conflict, NotFound
from atoll.model.keys import server_key
from atoll.model.records import ShareServer
from atoll.model.states import UNFINISHED_OPERATIONS, ServerStatus

LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Server:
    """A share server, as an operator who upgrades wants to see it."""

    id: str
    status: str
    instance: str
    shares: int
    image: str
    """What its instance was made of; empty for those made before that was written down."""
    is_current: bool
    """Whether a new instance would boot the same."""


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
    return Server(row["id"], row["status"], row["identifier"] or "", shares, image, image == newest)


def outdated(servers: Iterable[Server], only: Iterable[str] = ()) -> list[Server]:
    """Those that serve and boot another image, of ``only`` these if any are named.

    Raises ``NotFound`` for an id that no server has.
    """
    by_id = {server.id: server for server in servers}
    for server_id in only:
        if server_id not in by_id:
            raise NotFound(f"There is no share server {server_id}.")
    wanted = set(only) or set(by_id)
    return [
        server
        for server in by_id.values()
        if server.id in wanted and server.status == ServerStatus.ACTIVE and not server.is_current
    ]


def upgrade(
    database: Database, servers: Iterable[Server], seconds: float, tell: Callable[[str], None]
) -> None:
    """Have a new instance made for one server after another, each within so many ``seconds``.

    Raises ``Conflict`` at the first that fails: the others keep what they have.
    """
    for server in servers:
        tell(f"{server.id}: {server.shares} shares move to a new instance")
        ask(database, server.id)
        instance = _await(database, server, seconds)
        tell(f"{server.id}: instance {instance} serves")


def ask(database: Database, server_id: str) -> None:
    """Say that a new instance is wanted; the workers make it."""
    with database.begin() as connection:
        share_servers.change(connection, server_id, renewal_wanted=True)
        enqueue(connection, server_key(server_id), request_id="atoll server upgrade")


def _await(database: Database, server: Server, seconds: float) -> str:
    """The new instance's id."""
    end = time.monotonic() + seconds
    while True:
        resource = server_key(server.id)
        with database.read() as connection:
            last = operations.latest(connection, resource)
        with database.read() as connection:  # later: what an operation has done comes first
            row = share_servers.get(connection, server.id)
        if row is None:
            return "(gone)"
        if not row["renewal_wanted"]:
            return str(row["identifier"])
        assert last is not None
        if last["status"] not in UNFINISHED_OPERATIONS or time.monotonic() > end:
            raise Conflict(
                f"The share server {server.id} got no new instance: "
                f"{last['error'] or f'nothing was heard in {seconds:g} seconds'}",
                hint="The others were left alone. The workers go on with this one; see "
                "'atoll operation list', and the guide about upgrades of the service image.",
            )
        time.sleep(LOOK_SECONDS)


def as_rows(servers: Iterable[Server]) -> list[dict[str, object]]:
    """For a table, or JSON."""
    return [asdict(server) for server in servers]
