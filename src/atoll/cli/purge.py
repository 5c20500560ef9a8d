"""``atoll purge``: remove all that this deployment has made in its cloud."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.cli import bootstrap
from atoll.cli.clouds import open_cloud
from atoll.config import Settings
from atoll.db.database import Database


def purge(settings: Settings) -> Iterator[str]:
    """Say what there is, then remove it. Safe to repeat; the database's rows stay."""
    cloud = open_cloud(settings, bootstrap.deployment_id(Database(settings.database_url)))
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
    finally:
        cloud.close()
