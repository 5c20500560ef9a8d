"""Instances of the simulated cloud: booting, power, and what is attached to them."""

from __future__ import annotations

import time
from uuid import uuid4

from atoll.cloud.base import Fencing, FencingState, Instance, InstanceSpec, InstanceStatus
from atoll.cloud.memory import hosts
from atoll.cloud.memory.gate import Gate, call, waiting_call
from atoll.errors import (
    AtollError,
    CloudError,
    CloudNotFound,
    CloudUnavailable,
    InstanceMayStillRun,
    OutOfCapacity,
    VolumeInUse,
)

_POLL_SECONDS = 0.02
_SELECT = """
    SELECT id, owner, name, power, fault, ready_at,
           (SELECT group_concat(id) FROM
               (SELECT id FROM ports WHERE instance_id = i.id ORDER BY position)),
           (SELECT group_concat(id) FROM volumes WHERE instance_id = i.id)
    FROM instances i
"""


class MemoryCompute:
    """Implements ``Compute``.

    What happens to an instance also affects the shares that it serves.
    """

    port = "compute"
    unanswered: type[AtollError] = CloudUnavailable

    def __init__(self, gate: Gate, deployment: str, boot_seconds: float) -> None:
        self.gate = gate
        self._boot_seconds = boot_seconds
        self._world = gate.world
        self._deployment = deployment

    def subject(self) -> str:
        """Return an empty string, because the arguments of each call name what it is about."""
        return ""

    @call
    def create_instance(self, spec: InstanceSpec) -> Instance:
        """Start an instance, or find the one of ``spec.owner``.

        It returns while the instance boots.
        """
        made = self._find("deployment = ? AND owner = ?", self._deployment, spec.owner)
        if made:
            return made[0]
        self._check_room_and_ports(spec)
        instance_id = str(uuid4())
        self._world.execute(
            "INSERT INTO instances (id, deployment, owner, name, user, host_key, power, ready_at,"
            " boot_id) VALUES (?, ?, ?, ?, ?, ?, 'active', ?, ?)",
            instance_id,
            self._deployment,
            spec.owner,
            spec.name,
            spec.identity.user,
            spec.identity.host_key_public,
            time.time() + self._boot_seconds,
            str(uuid4()),
        )
        for position, port_id in enumerate(spec.port_ids):
            self._plug_port(instance_id, port_id, position)
        return self._the(instance_id)

    def _check_room_and_ports(self, spec: InstanceSpec) -> None:
        row = self._world.row(
            "SELECT (SELECT count(*) FROM instances) >= value FROM capacity"
            " WHERE name = 'instances'"
        )
        if row and row[0]:
            raise OutOfCapacity("The simulated cloud has no room for another instance.")
        for port_id in spec.port_ids:
            port = self._world.row("SELECT instance_id FROM ports WHERE id = ?", port_id)
            if port is None:
                raise CloudNotFound(f"There is no port {port_id}.")
            if port[0] is not None:
                raise CloudError(f"Port {port_id} is used by instance {port[0]}.")

    @waiting_call
    def wait_for_instance(self, instance_id: str, deadline: float) -> Instance:
        """Return when it is active; raise ``CloudError`` with the fault if it fails."""
        end = time.monotonic() + deadline
        while True:
            instance = self._the(instance_id)
            if instance.status == InstanceStatus.ACTIVE:
                return instance
            if instance.status != InstanceStatus.BUILDING:
                raise CloudError(instance.fault or f"Instance {instance_id} is {instance.status}.")
            if time.monotonic() >= end:
                raise CloudUnavailable(f"Instance {instance_id} is still booting.")
            time.sleep(_POLL_SECONDS)

    @call
    def get_instance(self, instance_id: str) -> Instance | None:
        """The instance, or None when it is gone."""
        found = self._find("id = ?", instance_id)
        return found[0] if found else None

    @call
    def find_instance(self, name_or_id: str) -> Instance | None:
        """An instance by name or id, also another deployment's."""
        found = self._find("id = ?", name_or_id) or self._find("name = ?", name_or_id)
        if len(found) > 1:
            raise CloudError(
                f"{len(found)} instances are named {name_or_id}.", hint="Name the one by its id."
            )
        return found[0] if found else None

    @call
    def list_instances(self) -> list[Instance]:
        """All instances of this deployment."""
        return self._find("deployment = ?", self._deployment)

    def stopped(self) -> set[str]:
        """Ids of instances that don't run.

        It is not in the journal, and no fault is about it, because it is called all the time.
        """
        rows = self._world.rows(
            "SELECT id FROM instances WHERE deployment = ? AND power <> 'active'", self._deployment
        )
        return {instance_id for (instance_id,) in rows}

    @call
    def reboot_instance(self, instance_id: str, *, soft: bool = False) -> None:
        """Reset it, or start a stopped one. Its units and files bring its shares back."""
        if self._the(instance_id).status == InstanceStatus.ERROR:
            raise CloudError(f"Instance {instance_id} is in error.")
        hosts.reach(self.gate, instance_id)
        lose_power(self.gate, instance_id)
        self._world.execute(
            "UPDATE instances SET power = 'active', hung = 0, boot_id = ?, ready_at = ?"
            " WHERE id = ?",
            str(uuid4()),
            time.time() + self._boot_seconds,
            instance_id,
        )
        self._world.execute(
            "UPDATE served SET mounted = EXISTS (SELECT 1 FROM volumes WHERE id = serial"
            " AND volumes.instance_id = served.instance_id) WHERE instance_id = ?",
            instance_id,
        )
        self._world.execute(
            "UPDATE instances SET nfs = 0 WHERE id = ? AND state_serial <> '' AND NOT EXISTS"
            " (SELECT 1 FROM volumes WHERE id = state_serial AND instance_id = instances.id)",
            instance_id,
        )

    @call
    def delete_instance(self, instance_id: str) -> None:
        """Delete it. Its volumes are detached and its ports kept, for use by another instance."""
        destroy(self.gate, instance_id)

    @call
    def fencing(self, instance_id: str) -> Fencing:
        """What is known about the end of an instance, which may be gone."""
        return hosts.fencing(self.gate, instance_id)

    @call
    def fence_instance(self, instance_id: str) -> None:
        """Delete the instance if it is proved that it then no longer runs."""
        found = hosts.fencing(self.gate, instance_id)
        if found.state == FencingState.DOUBTFUL:
            raise InstanceMayStillRun(found.reason, instance_id=instance_id)
        destroy(self.gate, instance_id)

    @call
    def attach_volume(self, instance_id: str, volume_id: str) -> None:
        """Plug a volume in. ``VolumeInUse`` if another instance has it."""
        self._the(instance_id)
        row = self._world.row("SELECT instance_id FROM volumes WHERE id = ?", volume_id)
        if row is None:
            raise CloudNotFound(f"There is no volume {volume_id}.")
        if row[0] == instance_id:
            return
        if row[0] is not None:
            raise VolumeInUse(f"Volume {volume_id} is attached to instance {row[0]}.")
        full = self._world.row(
            "SELECT (SELECT count(*) FROM volumes WHERE instance_id = ?) >= value"
            " FROM capacity WHERE name = 'volumes_per_instance'",
            instance_id,
        )
        if full and full[0]:
            raise OutOfCapacity(f"Instance {instance_id} has no place for another volume.")
        hosts.reach(self.gate, instance_id)
        self._note_second_writer(instance_id, volume_id)
        self._world.execute(
            "UPDATE volumes SET instance_id = ? WHERE id = ?", instance_id, volume_id
        )

    def begin_attaching(self, instance_id: str, volume_id: str) -> bool:
        """Attach a volume. This never takes long here, so it is done when this returns."""
        self.attach_volume(instance_id, volume_id)
        return False

    @call
    def detach_volume(self, instance_id: str, volume_id: str) -> None:
        """Detach a volume.

        One that is still mounted loses what wasn't flushed, which is an accident.
        """
        hosts.reach(self.gate, instance_id)
        self._note_if_mounted(instance_id, volume_id)
        unplug(self.gate, instance_id, volume_id)

    @call
    def attach_port(self, instance_id: str, port_id: str) -> None:
        """Plug a port into a running instance (warm instances)."""
        instance = self._the(instance_id)
        if port_id not in instance.port_ids:
            self._plug_port(instance_id, port_id, len(instance.port_ids))

    @call
    def connect_ports(self, instance_id: str, deadline: float) -> None:
        """Do nothing, because what is plugged in here is connected at once."""

    @call
    def console(self, instance_id: str) -> str:
        """The last lines of its serial console."""
        instance = self._the(instance_id)
        return f"[    0.000000] Simulated instance {instance.name}: {instance.status}\n"

    def _note_second_writer(self, instance_id: str, volume_id: str) -> None:
        for other in hosts.writers(self.gate, volume_id):
            self._note_accident(
                f"Volume {volume_id} was attached to instance {instance_id} while instance {other} "
                "still wrote to it."
            )

    def _note_accident(self, text: str) -> None:
        self._world.execute(
            "INSERT INTO accidents (deployment, text) VALUES (?, ?)", self._deployment, text
        )

    def _note_if_mounted(self, instance_id: str, volume_id: str) -> None:
        mounted = self._world.row(
            "SELECT share_id FROM served JOIN instances i ON i.id = instance_id"
            " WHERE instance_id = ? AND serial = ? AND mounted AND power = 'active' AND NOT hung",
            instance_id,
            volume_id,
        )
        if mounted:
            self._note_accident(
                f"Volume {volume_id} was detached while share {mounted[0]} was mounted on it."
            )

    def _plug_port(self, instance_id: str, port_id: str, position: int) -> None:
        taken = self._world.execute(
            "UPDATE ports SET instance_id = ?, position = ? WHERE id = ? AND instance_id IS NULL",
            instance_id,
            position,
            port_id,
        )
        if not taken:
            raise CloudError(f"Port {port_id} is absent or used by another instance.")

    def _the(self, instance_id: str) -> Instance:
        found = self._find("id = ?", instance_id)
        if not found:
            raise CloudNotFound(f"There is no instance {instance_id}.")
        return found[0]

    def _find(self, where: str, *values: str) -> list[Instance]:
        return [
            Instance(
                instance_id,
                owner,
                name,
                _status(power, ready_at),
                fault,
                tuple(ports.split(",")) if ports else (),
                tuple(volumes.split(",")) if volumes else (),
            )
            for instance_id, owner, name, power, fault, ready_at, ports, volumes in (
                self._world.rows(f"{_SELECT} WHERE {where}", *values)
            )
        ]


def _status(power: str, ready_at: float) -> InstanceStatus:
    if power == InstanceStatus.ACTIVE and ready_at > time.time():
        return InstanceStatus.BUILDING
    return InstanceStatus(power)


def unplug(gate: Gate, instance_id: str, volume_id: str) -> None:
    """Take a volume from an instance, even if it is in use. Call this within a change."""
    unplugged = gate.world.execute(
        "UPDATE volumes SET instance_id = NULL WHERE id = ? AND instance_id = ?",
        volume_id,
        instance_id,
    )
    if not unplugged:
        return
    gate.world.execute("DELETE FROM files WHERE disk_id = ? AND NOT flushed", volume_id)
    gate.world.execute(
        "UPDATE served SET mounted = 0, frozen_until = NULL WHERE instance_id = ? AND serial = ?",
        instance_id,
        volume_id,
    )


def lose_power(gate: Gate, instance_id: str) -> None:
    """Stop an instance, with its page cache, freezes and channels. Call this within a change."""
    gate.world.execute(
        "DELETE FROM files WHERE NOT flushed AND disk_id IN"
        " (SELECT id FROM volumes WHERE instance_id = ?)",
        instance_id,
    )
    gate.world.execute(
        "UPDATE served SET mounted = 0, frozen_until = NULL WHERE instance_id = ?", instance_id
    )
    gate.world.execute(
        "UPDATE instances SET power = 'stopped', boot_id = ? WHERE id = ?",
        str(uuid4()),
        instance_id,
    )


def destroy(gate: Gate, instance_id: str) -> None:
    """Remove an instance. Volumes and ports stay. Call this within a change."""
    hosts.let_linger(gate, instance_id)
    lose_power(gate, instance_id)
    for statement in (
        "UPDATE volumes SET instance_id = NULL WHERE instance_id = ?",
        "UPDATE ports SET instance_id = NULL WHERE instance_id = ?",
        "DELETE FROM served WHERE instance_id = ?",
        "DELETE FROM fences WHERE instance_id = ?",
        "DELETE FROM instances WHERE id = ?",
    ):
        gate.world.execute(statement, instance_id)
