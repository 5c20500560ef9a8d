"""The simulated cloud as a whole, with the accidents that a test can cause in it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from atoll.cloud.base import Access, Finding, Image
from atoll.cloud.memory import hosts, login
from atoll.cloud.memory.client import MemoryClient
from atoll.cloud.memory.compute import MemoryCompute, destroy, lose_power, unplug
from atoll.cloud.memory.faults import Fault, Faults
from atoll.cloud.memory.gate import Gate, call, waiting_call
from atoll.cloud.memory.guest import MemoryGuest
from atoll.cloud.memory.journal import Journal
from atoll.cloud.memory.networks import MemoryNetworks
from atoll.cloud.memory.volumes import MemoryVolumes
from atoll.cloud.memory.world import World
from atoll.errors import AtollError, CloudNotFound, CloudUnavailable, GuestUnreachable
from atoll.model.keys import SERVICE_NETWORK
from atoll.model.states import FileSystemState

_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Disk:
    """What is on a volume or a snapshot."""

    signature: str | None
    """``ext4``, ``xfs`` …; None if it is blank."""
    fs_uuid: str | None
    fs_gib: int | None
    files: Mapping[str, bytes]
    """The files, without what a guest has not flushed yet."""


class MemoryImages:
    """Implements ``Images``: the newest image boots at once, as did those before it."""

    port = "images"
    unanswered: type[AtollError] = CloudUnavailable

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def subject(self) -> str:
        """Return an empty string."""
        return ""

    @call
    def service_image(self) -> Image:
        """The image to boot."""
        number = self._number()
        name = f"memory-image-{number}" if number else "memory-image"
        return Image(name, "atoll-service-image", f"{number:064x}")

    def publish(self) -> None:
        """Add a newer image."""
        with self.gate.world.change():
            self.gate.world.execute(
                "INSERT OR REPLACE INTO capacity VALUES ('image', ?)", self._number() + 1
            )

    def _number(self) -> int:
        (number,) = self.gate.world.row("SELECT value FROM capacity WHERE name = 'image'") or (0,)
        return int(number)


class MemoryCloud:
    """A simulated cloud whose world is a file, shared by all processes that name the same path.

    Without ``path``, the world is in this process's memory, shared by its threads. ``faults`` are
    set at once. ``latency`` has seconds by call (``{"attach_volume": 2, "*": 0.01}``). A guest that
    can't be reached is noticed after ``silence`` seconds. The limits apply when the world is made,
    and ``set_capacity`` changes them.
    """

    name = "memory"
    project_id = ""
    port = "cloud"
    unanswered: type[AtollError] = CloudUnavailable

    def __init__(
        self,
        deployment: str,
        *,
        path: Path | None = None,
        faults: Iterable[Fault] = (),
        latency: Mapping[str, float] | None = None,
        boot_seconds: float = 0,
        journal: bool = True,
        silence: float = 0.05,
        capacity_gib: float = 1_000_000,
        max_instances: int = 100_000,
        max_volumes_per_instance: int = 1_000,
    ) -> None:
        self._world = World(
            path,
            {
                "volumes_gib": capacity_gib,
                "instances": max_instances,
                "volumes_per_instance": max_volumes_per_instance,
            },
        )
        self._deployment = deployment
        self._silence = silence
        self.faults = Faults(self._world)
        self.journal = Journal(self._world, on=journal)
        self.gate = Gate(self._world, self.faults, self.journal, latency or {})
        self.compute = MemoryCompute(self.gate, deployment, boot_seconds)
        self.volumes = MemoryVolumes(self.gate, deployment)
        self.networks = MemoryNetworks(self.gate, deployment)
        self.images = MemoryImages(self.gate)
        for fault in faults:
            self.faults.add(fault)

    def place(self) -> dict[str, str]:
        """The world's id."""
        return {"place": self._world.id()}

    def subject(self) -> str:
        """Return an empty string, because the arguments of each call name what it is about."""
        return ""

    @waiting_call
    def open_guest(self, instance_id: str, access: Access, deadline: float) -> MemoryGuest:
        """A channel to the instance's agent, waiting for its boot until ``deadline`` (seconds)."""
        end = time.monotonic() + deadline
        while self._is_booting(instance_id):
            if time.monotonic() >= end:
                raise GuestUnreachable(f"Instance {instance_id} is still booting.")
            time.sleep(_POLL_SECONDS)
        return login.open_guest(self.gate, instance_id, access, min(self._silence, deadline))

    def _is_booting(self, instance_id: str) -> bool:
        query = "SELECT 1 FROM instances WHERE id = ? AND power = 'active' AND ready_at > ?"
        return self._world.row(query, instance_id, time.time()) is not None

    def nfs_answers(self, instance_id: str, address: str) -> bool:
        """Whether the NFS server of an instance answers."""
        try:
            return self._null_call(instance_id)
        except GuestUnreachable:
            return False

    def serves_clients(self, instance_id: str) -> bool:
        """Whether it answers where clients reach it, by another network."""
        try:
            return self._clients_null_call(instance_id)
        except GuestUnreachable:
            return False

    @call
    def _null_call(self, instance_id: str) -> bool:
        return self._runs_nfs(instance_id)

    @call
    def _clients_null_call(self, instance_id: str) -> bool:
        return self._runs_nfs(instance_id)

    def _runs_nfs(self, instance_id: str) -> bool:
        row = self._world.row(
            "SELECT nfs FROM instances WHERE id = ? AND power = 'active' AND NOT hung"
            " AND ready_at <= ?",
            instance_id,
            time.time(),
        )
        return bool(row and row[0])

    def tend(self, *, wholly: bool = False) -> list[str]:
        """Return an empty list, because no other program changes a simulated network."""
        return []

    def check(self) -> list[Finding]:
        """What ``atoll doctor`` says about this cloud."""
        return [
            Finding(
                "Cloud memory",
                ok=True,
                detail="a simulation: no share can be mounted for real",
            )
        ]

    def purge(self) -> None:
        """Remove everything of this deployment."""
        for instance in self.compute.list_instances():
            self.compute.delete_instance(instance.id)
        for volume in self.volumes.list_volumes():
            self.volumes.delete_volume(volume.id)
        for snapshot in self.volumes.list_snapshots():
            self.volumes.delete_snapshot(snapshot.id)
        for port in self.networks.list_ports():
            self.networks.delete_port(port.id)
        for subnet in self.networks.list_subnets():
            if subnet.router_id is not None:
                self.networks.disconnect_router(subnet.router_id, subnet.id)
            self.networks.delete_subnet(subnet.id)
        for network in self.networks.list_networks():
            self.networks.delete_network(network.id)

    def close(self) -> None:
        """Close the world, which stays in its file."""
        self._world.close()

    # --- a look from outside ----------------------------------------------------------------

    def client(self, address: str, user: str = "") -> MemoryClient:
        """A user's machine at this address."""
        return MemoryClient(self._world, address, user)

    def disk(self, disk_id: str) -> Disk:
        """What is on a volume or a snapshot. Raises ``CloudNotFound``."""
        row = self._world.row(
            "SELECT signature, fs_uuid, fs_gib FROM volumes WHERE id = ?"
            " UNION ALL SELECT signature, fs_uuid, fs_gib FROM snapshots WHERE id = ?",
            disk_id,
            disk_id,
        )
        if row is None:
            raise CloudNotFound(f"There is no volume or snapshot {disk_id}.")
        files = self._world.rows(
            "SELECT name, data FROM files WHERE disk_id = ? AND flushed", disk_id
        )
        return Disk(row[0], row[1], row[2], dict(files))

    def leaks(self) -> dict[str, list[str]]:
        """Everything of this deployment that is left, by kind, as ``owner id``.

        Kinds of which nothing is left are omitted. The service network belongs to the deployment
        itself and is not a leak.
        """
        found = {
            kind: [
                f"{owner} {thing_id}"
                for owner, thing_id in self._world.rows(
                    f"SELECT owner, id FROM {kind}"  # noqa: S608
                    " WHERE deployment = ? AND owner <> ? ORDER BY owner",
                    self._deployment,
                    SERVICE_NETWORK,
                )
            ]
            for kind in ("instances", "volumes", "snapshots", "networks", "subnets", "ports")
        }
        found["router interfaces"] = [
            f"{subnet_id} {router_id}"
            for subnet_id, router_id in self._world.rows(
                "SELECT subnet_id, router_id FROM router_interfaces WHERE deployment = ?",
                self._deployment,
            )
        ]
        found["exports"] = [
            f"{share_id} {instance_id}"
            for share_id, instance_id in self._world.rows(
                "SELECT share_id, instance_id FROM served JOIN instances i ON i.id = instance_id"
                " WHERE deployment = ?",
                self._deployment,
            )
        ]
        return {kind: things for kind, things in found.items() if things}

    def accidents(self) -> list[str]:
        """Everything that a driver must never do.

        That is detaching a mounted volume from a running instance, copying the volume of a share
        that is in use without a freeze, or giving a volume a second writer.
        """
        rows = self._world.rows(
            "SELECT text FROM accidents WHERE deployment = ? ORDER BY number", self._deployment
        )
        return [row[0] for row in rows]

    # --- what a user has --------------------------------------------------------------------

    def add_router(self, *subnet_ids: str) -> str:
        """Make a user's router that is the gateway of these subnets. Returns its id."""
        router_id = str(uuid4())
        with self._world.change():
            for subnet_id in subnet_ids:
                self._world.execute(
                    "INSERT INTO router_interfaces VALUES (?, ?, NULL)", subnet_id, router_id
                )
        return router_id

    def add_subnet(self, network_id: str, cidr: str) -> None:
        """Make another user's subnet, which may overlap with others.

        Neutron allows that for two subnets that are made at the same moment.
        """
        with self._world.change():
            self._world.execute(
                "INSERT INTO subnets (id, network_id, deployment, owner, cidr, gateway)"
                " VALUES (?, ?, '', NULL, ?, NULL)",
                str(uuid4()),
                network_id,
                cidr,
            )

    def remove_router(self, router_id: str) -> None:
        """Delete a user's router with all of its interfaces, as its owner may do."""
        with self._world.change():
            self._world.execute("DELETE FROM router_interfaces WHERE router_id = ?", router_id)

    # --- accidents to stage: neither journal nor faults see them ---------------------------------

    def damage_file_system(self, volume_id: str, state: FileSystemState) -> None:
        """Have the file system of a mounted volume meet an error, until it is mounted anew."""
        with self._world.change():
            self._world.execute("UPDATE volumes SET fs_state = ? WHERE id = ?", state, volume_id)

    def kill_instance(self, instance_id: str) -> None:
        """Cut an instance's power: it is ``stopped``, and what it had not flushed is lost."""
        with self._world.change():
            lose_power(self.gate, instance_id)

    def fail_instance(self, instance_id: str, fault: str = "No valid host was found.") -> None:
        """Put an instance into ``error``, with this fault."""
        with self._world.change():
            lose_power(self.gate, instance_id)
            self._world.execute(
                "UPDATE instances SET power = 'error', fault = ? WHERE id = ?", fault, instance_id
            )

    def hang_instance(self, instance_id: str, *, hung: bool = True) -> None:
        """Have an instance stay ``active`` without answering until a reboot (or ``hung=False``)."""
        with self._world.change():
            self._world.execute("UPDATE instances SET hung = ? WHERE id = ?", hung, instance_id)

    def force_down(self, instance_id: str) -> None:
        """Switch the host of an instance off, and tell the cloud so, as a fencing agent does."""
        with self._world.change():
            hosts.force_down(self.gate, instance_id)

    def delete_instance(self, instance_id: str) -> None:
        """Delete an instance without Atoll's knowledge. Volumes and ports stay."""
        with self._world.change():
            destroy(self.gate, instance_id)

    def delete_volume(self, volume_id: str) -> None:
        """Delete a volume without Atoll's knowledge, attached or not."""
        self.lose_volume_attachment(volume_id)
        with self._world.change():
            self._world.execute("DELETE FROM volumes WHERE id = ?", volume_id)
            self._world.execute("DELETE FROM files WHERE disk_id = ?", volume_id)

    def lose_volume_attachment(self, volume_id: str) -> None:
        """Detach a volume from the instance that has it. Its mount is gone, too."""
        with self._world.change():
            row = self._world.row("SELECT instance_id FROM volumes WHERE id = ?", volume_id)
            if row and row[0]:
                unplug(self.gate, row[0], volume_id)

    def lose_exports(self, instance_id: str) -> None:
        """End all exports of an instance, as an administrator could. Mounts stay."""
        with self._world.change():
            self._world.execute("UPDATE served SET exported = 0 WHERE instance_id = ?", instance_id)

    def write_signature(self, volume_id: str, signature: str = "LVM2_member") -> None:
        """Write another program's signature on a volume."""
        with self._world.change():
            self._world.execute(
                "UPDATE volumes SET signature = ? WHERE id = ?", signature, volume_id
            )

    def set_capacity(
        self,
        *,
        volumes_gib: float | None = None,
        instances: int | None = None,
        volumes_per_instance: int | None = None,
    ) -> None:
        """Change the limits of the world. None leaves a limit as it is."""
        limits = {
            "volumes_gib": volumes_gib,
            "instances": instances,
            "volumes_per_instance": volumes_per_instance,
        }
        with self._world.change():
            for name, value in limits.items():
                if value is not None:
                    self._world.execute("UPDATE capacity SET value = ? WHERE name = ?", value, name)
