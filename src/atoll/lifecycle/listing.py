"""One listing of all that a deployment has in its cloud, by owner."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from atoll.cloud.base import Cloud, Network, Volume, VolumeSnapshot


@dataclass(frozen=True, slots=True)
class Listing:
    """What the cloud had when it was asked."""

    cloud: Cloud
    volumes: dict[str, Volume]
    copies: dict[str, VolumeSnapshot]
    networks: dict[str, Network]
    instances: dict[str, list[str]]
    """Ids of instances by owner."""
    ports: dict[str, str | None]
    """The instance that has a port, by the port's id."""

    @classmethod
    def of(cls, cloud: Cloud) -> Listing:
        """Ask the cloud. Raises ``CloudError``."""
        instances: dict[str, list[str]] = defaultdict(list)
        for instance in cloud.compute.list_instances():
            instances[instance.owner].append(instance.id)
        return cls(
            cloud,
            {volume.owner: volume for volume in cloud.volumes.list_volumes()},
            {copy.owner: copy for copy in cloud.volumes.list_snapshots()},
            {network.owner: network for network in cloud.networks.list_networks()},
            dict(instances),
            {port.id: port.instance_id for port in cloud.networks.list_ports()},
        )

    def snapshot(self, owner: str, location: str) -> VolumeSnapshot | None:
        """The copy of this owner; one that was adopted is found by its ``location``."""
        found = self.copies.get(owner)
        if found is None and location:
            found = self.cloud.volumes.get_snapshot(location)
        return found

    def about(self, thing_id: str) -> tuple[int | None, str, str]:
        """Size in GiB, time of creation, and the instance that has it, as far as they are known."""
        for volume in self.volumes.values():
            if volume.id == thing_id:
                return volume.size_gib, volume.created_at, volume.instance_id or ""
        for copy in self.copies.values():
            if copy.id == thing_id:
                return copy.size_gib, copy.created_at, ""
        return None, "", self.ports.get(thing_id) or ""
