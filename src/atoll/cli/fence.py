"""``atoll server fence``: an operator confirms that a service instance does not run any more."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from atoll.cli.clouds import open_own_cloud
from atoll.config import Settings
from atoll.db import placement, private_data, share_servers
from atoll.db.database import Database
from atoll.driver.fence import ENDED_ID, INSTANCE_ID
from atoll.engine.queue import enqueue
from atoll.errors import Conflict, NotFound
from atoll.model.keys import server_key
from atoll.model.records import ShareServer
from atoll.model.states import FencingState, ServerStatus


@dataclass(frozen=True, slots=True)
class Doubt:
    """An instance that may still run."""

    server: str
    instance: str
    shares: int
    reason: str
    """What the cloud knows of it."""


def doubted(settings: Settings, database: Database, server_id: str, instance_id: str) -> Doubt:
    """What an operator is about to confirm. An empty ``instance_id`` means the present instance.

    Raises ``NotFound`` for an unknown server or instance, and ``Conflict`` if there is nothing to
    confirm.
    """
    with database.read() as connection:
        row = share_servers.get(connection, server_id)
        known = private_data.read(connection, server_key(server_id))
        shares = placement.count_shares(connection, server_id)
    _refuse_if_it_answers(server_id, row)
    assert row is not None
    current, _ = known.get(INSTANCE_ID, ("", False))
    its = [each for each in (row["unfenced_instance"], row["identifier"], current) if each]
    if not its or (instance_id and instance_id not in its):
        raise NotFound(f"The share server {server_id} has no such instance.")
    chosen = instance_id or its[0]
    with closing(open_own_cloud(settings, database)) as cloud:
        fencing = cloud.compute.fencing(chosen)
    if fencing.state != FencingState.DOUBTFUL:
        raise Conflict(
            f"There is nothing to confirm: the cloud itself can end instance {chosen}, or has done "
            "so.",
            hint="The workers continue by themselves; see 'atoll operation list'.",
        )
    return Doubt(server_id, chosen, shares, fencing.reason)


def confirm(database: Database, doubt: Doubt) -> None:
    """Record that the instance does not run any more, and have its server looked at.

    Raises ``Conflict`` if the server answers now.
    """
    with database.begin() as connection:
        _refuse_if_it_answers(doubt.server, share_servers.lock(connection, doubt.server))
        key = server_key(doubt.server)
        private_data.write(connection, key, {ENDED_ID: doubt.instance}, False)
        enqueue(connection, key, request_id="atoll server fence")


def _refuse_if_it_answers(server_id: str, row: ShareServer | None) -> None:
    if row is None:
        raise NotFound(f"There is no share server {server_id}.")
    if row["status"] == ServerStatus.ACTIVE and row["unhealthy_since"] is None:
        raise Conflict(f"The share server {server_id} answers, so its instance runs.")
