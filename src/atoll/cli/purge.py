"""``atoll purge``: remove all that this deployment has made in its cloud."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.cli import bootstrap
from atoll.cli.clouds import open_cloud
from atoll.config import Settings
from atoll.db.database import Database


def purge(settings: Settings) -> Iterator[str]:
    """Instances first, then what they held; says each thing that it removed. Safe to repeat."""
    cloud = open_cloud(settings, bootstrap.deployment_id(Database(settings.database_url)))
    try:
        for instance in cloud.compute.list_instances():
            cloud.compute.delete_instance(instance.id)
            yield f"instance {instance.id} ({instance.owner})"
        for volume in cloud.volumes.list_volumes():
            cloud.volumes.delete_volume(volume.id)
            yield f"volume {volume.id} ({volume.owner})"
        for snapshot in cloud.volumes.list_snapshots():
            cloud.volumes.delete_snapshot(snapshot.id)
            yield f"snapshot {snapshot.id} ({snapshot.owner})"
        for port in cloud.networks.list_ports():
            cloud.networks.delete_port(port.id)
            yield f"port {port.id} ({port.owner})"
        for network in cloud.networks.list_networks():
            cloud.networks.delete_network(network.id)
            yield f"network {network.id} ({network.owner})"
    finally:
        cloud.close()
