"""Resources in the cloud that carry this deployment's tag and belong to no row.

The reconcile pass removes orphans that are known to be leftovers. ``atoll doctor`` and
``atoll orphan list`` show the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from atoll.cloud.base import Cloud, Instance, Network, OwnedSubnet, Port, Volume, VolumeSnapshot
from atoll.db import owners
from atoll.db.database import Database

Owned = Instance | Volume | VolumeSnapshot | Port | OwnedSubnet | Network

DEPLOYMENTS_OWN = ("service_network", "service-network")
"""Owners of what all shares of a deployment need; workers recreate it if it is missing."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """One resource in the cloud without a row."""

    kind: str
    """The cloud's word for it: instance, volume, …"""
    id: str
    owner: str
    removed_at: str
    """When the owner's row was removed (UTC); empty if the database never had one."""

    @property
    def may_go(self) -> bool:
        """Whether the orphan is known to be a leftover."""
        return bool(self.removed_at)

    def __str__(self) -> str:
        return f"{self.kind} {self.id} of {self.owner or 'nobody'}"


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one comparison."""

    orphans: list[Orphan]
    unseen: dict[str, Exception]
    """Kinds that the cloud could not list, and why."""


class Orphans:
    """Finds and removes orphans in one cloud."""

    def __init__(self, cloud: Cloud, database: Database) -> None:
        self._cloud = cloud
        self._database = database
        # The order allows removal one after the other: ports before their networks.
        self._kinds: dict[str, tuple[Callable[[], Sequence[Owned]], Callable[[str], None]]] = {
            "instance": (cloud.compute.list_instances, cloud.compute.delete_instance),
            "volume": (cloud.volumes.list_volumes, cloud.volumes.delete_volume),
            "volume snapshot": (cloud.volumes.list_snapshots, cloud.volumes.delete_snapshot),
            "port": (cloud.networks.list_ports, cloud.networks.delete_port),
            "subnet": (cloud.networks.list_subnets, cloud.networks.delete_subnet),
            "network": (cloud.networks.list_networks, cloud.networks.delete_network),
        }

    def find(self) -> Found:
        """Compare the cloud with the rows.

        The cloud is listed first. Resources are made only while their row exists. So one that is
        listed, and has no row afterwards, has lost its row, and no operation will remove it.

        A database that was restored from a backup does not know what was made since. So ``may_go``
        is true only if a handler has removed the row.
        """
        unseen: dict[str, Exception] = {}
        listed = [(kind, thing) for kind in self._kinds for thing in self._list(kind, unseen)]
        with self._database.read() as connection:
            known = owners.known(connection)
            strays = [
                (kind, thing)
                for kind, thing in listed
                if thing.owner not in known and thing.owner not in DEPLOYMENTS_OWN
            ]
            removed = owners.removed(connection, {thing.owner for _, thing in strays})
        return Found(
            [
                Orphan(kind, thing.id, thing.owner, removed.get(thing.owner, ""))
                for kind, thing in strays
            ],
            unseen,
        )

    def remove(self, orphan: Orphan, check: Callable[[], None]) -> None:
        """Delete the orphan. Raises ``CloudError``, e.g. while another orphan depends on it.

        ``check`` is called before each step, and raises ``LeaseLost`` in an outdated worker.
        """
        match orphan.kind:
            case "volume":
                self._release_volume(orphan.id, check)
            case "subnet":
                self._unplug_subnet(orphan.id, check)
        check()
        _, delete = self._kinds[orphan.kind]
        delete(orphan.id)

    def _list(self, kind: str, unseen: dict[str, Exception]) -> Iterator[Owned]:
        listing, _ = self._kinds[kind]
        try:
            yield from listing()
        except Exception as error:  # noqa: BLE001 - an error with one kind must not stop the others
            unseen[kind] = error

    def _release_volume(self, volume_id: str, check: Callable[[], None]) -> None:
        volume = self._cloud.volumes.get_volume(volume_id)
        if volume is not None and volume.instance_id is not None:
            check()
            self._cloud.compute.detach_volume(volume.instance_id, volume_id)

    def _unplug_subnet(self, subnet_id: str, check: Callable[[], None]) -> None:
        networks = self._cloud.networks
        for subnet in networks.list_subnets():
            if subnet.id == subnet_id:
                check()
                networks.disconnect_router(subnet.router_id or "", subnet_id)
