"""``atoll purge``: remove all that this deployment has made in its cloud."""

from __future__ import annotations

import time
from collections.abc import Iterator

from atoll.cli.clouds import open_own_cloud
from atoll.config import Settings
from atoll.db import services
from atoll.db.database import Database
from atoll.db.purge import forget_cloud, forget_resources
from atoll.engine import doorbell
from atoll.errors import Conflict
from atoll.lifecycle.heartbeat import BEAT_SECONDS

INSIST = "--even-under-a-live-worker"

_LOOK_SECONDS = 0.5


def purge(settings: Settings, *, insist: bool = False) -> Iterator[str]:
    """List what exists in the cloud, then remove it and its rows. It may be repeated.

    The cloud is emptied before the rows are deleted, so that after a crash the purge can be
    repeated. Raises ``Conflict`` while a worker is alive, unless ``insist`` is set.
    """
    database = Database.of(settings)
    if not insist:
        refuse_under_a_worker(database)
    cloud = open_own_cloud(settings, database)
    try:
        for instance in cloud.compute.list_instances():
            yield f"instance {instance.id} ({instance.owner})"
        for volume in cloud.volumes.list_volumes():
            yield f"volume {volume.id} ({volume.owner})"
        for snapshot in cloud.volumes.list_snapshots():
            yield f"snapshot {snapshot.id} ({snapshot.owner})"
        for port in cloud.networks.list_ports():
            yield f"port {port.id} ({port.owner})"
        for network in cloud.networks.list_networks():
            yield f"network {network.id} ({network.owner})"
        with database.begin() as connection:
            forget_cloud(connection)
        cloud.purge()
        with database.begin() as connection:
            forget_resources(connection)
    finally:
        cloud.close()


def refuse_under_a_worker(database: Database) -> None:
    """Raise ``Conflict``, which names the worker, while a worker is alive.

    A live worker listens at the doorbell, which can be checked at once, so a worker that has just
    stopped causes no wait. On PostgreSQL a live worker may have lost its connection to the
    doorbell, so this waits some seconds for its next heartbeat.
    """
    if not (doorbell.listeners(database) or _beats(database)):
        return
    found = _last_signs(database)
    who = "; ".join(f"{host} (last sign of life {age:.0f} s ago)" for host, age in found)
    raise Conflict(
        f"A worker of this deployment is alive: {who or 'it has just started'}. It would continue "
        "to make and use what a purge removes.",
        hint="Stop it first, such as by 'systemctl stop atoll-worker' or by ending 'atoll serve'. "
        f"To remove everything in spite of it: 'atoll purge --yes {INSIST}'.",
    )


def _last_signs(database: Database) -> list[tuple[str, float]]:
    """Hosts whose workers may be alive, and seconds since each one's last heartbeat."""
    with database.read() as connection:
        now = database.now(connection)
        rows = services.every(connection, now)
    return [(row["host"], max(0.0, now - row["heartbeat"])) for row in rows if row["state"] == "up"]


def _beats(database: Database) -> bool:
    """Whether a heartbeat arrives within the interval of a live worker's heartbeats."""
    if database.is_sqlite:
        return False  # all its workers are on this machine, and listen

    def heartbeats() -> dict[str, float]:
        with database.read() as connection:
            return {
                row["host"]: row["heartbeat"]
                for row in services.every(connection, database.now(connection))
                if row["state"] == "up"
            }

    seen = heartbeats()
    deadline = time.monotonic() + 1.2 * BEAT_SECONDS
    while seen and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        if heartbeats().items() - seen.items() or doorbell.listeners(database):
            return True
    return False
