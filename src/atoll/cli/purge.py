"""``atoll purge``: remove all that this deployment has made in its cloud."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.cli import bootstrap
from atoll.cli.clouds import open_cloud
from atoll.config import Settings
from atoll.db.database import Database
from atoll.db.purge import forget_resources


def purge(settings: Settings) -> Iterator[str]:
    """Say what there is, then remove it, and the rows of it. Safe to repeat.

    The cloud first: after a crash in between, rows without a cloud are purged again, while things
    without rows would be nobody's.
    """
    database = Database(settings.database_url)
    cloud = open_cloud(settings, bootstrap.deployment_id(database))
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
        cloud.purge()
        with database.begin() as connection:
            forget_resources(connection)
    finally:
        cloud.close()
