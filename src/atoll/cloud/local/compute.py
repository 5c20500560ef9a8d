"""Service instances: their records, root disks and seeds, and what is attached to them.

Locks are taken in this order: a volume, then its instance.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import uuid4

from atoll.cloud.base import Fencing, FencingState, Instance, InstanceSpec, InstanceStatus
from atoll.cloud.local.acceleration import Acceleration
from atoll.cloud.local.connection import QemuUser
from atoll.cloud.local.domain import Machine, machine_xml
from atoll.cloud.local.domains import NO_ROOM, Domains
from atoll.cloud.local.images import LocalImages
from atoll.cloud.local.networks import LocalNetworks
from atoll.cloud.local.processes import qemu_of
from atoll.cloud.local.records import Records
from atoll.cloud.local.volumes import LocalVolumes
from atoll.errors import CloudError, CloudNotFound, CloudUnavailable, InstanceMayStillRun
from atoll.image.seed import seed_iso

CONSOLE_TAIL = 8192
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """The record of an instance. Its keys are only in its seed."""

    id: str
    owner: str
    name: str
    image_id: str
    port_ids: tuple[str, ...]
    vcpus: int
    memory_mib: int
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """What an instance's definition needs to know of the machine."""

    vcpus: int
    memory_mib: int
    deployment: str
    acceleration: Callable[[], Acceleration]
    qemu_user: Callable[[], QemuUser]


class LocalCompute:
    """Implements ``Compute``."""

    def __init__(
        self,
        records: Records[InstanceRecord],
        domains: Domains,
        volumes: LocalVolumes,
        networks: LocalNetworks,
        images: LocalImages,
        host: Host,
    ) -> None:
        self.records = records
        self._domains = domains
        self._volumes = volumes
        self._networks = networks
        self._images = images
        self._host = host
        self._shut_files()

    def _shut_files(self) -> None:
        """Make the files of instances unreadable for other users, because they contain keys.

        This includes files of older versions. QEMU's user owns the files. Other users may have to
        pass through the directories.
        """
        for record in self.records.list():
            for name in ("root.qcow2", "seed.iso", "console.log"):
                path = self.records.path(record.id) / name
                with suppress(FileNotFoundError):
                    if path.stat().st_mode & 0o077:
                        path.chmod(0o600)

    def create_instance(self, spec: InstanceSpec) -> Instance:
        """Start an instance, or find the one of ``spec.owner``.

        It returns while the instance boots.
        """

        def new() -> InstanceRecord:
            self._images.path(spec.image_id)
            self._networks.expect_ports(spec.port_ids)
            return InstanceRecord(
                str(uuid4()),
                spec.owner,
                spec.name,
                spec.image_id,
                spec.port_ids,
                self._host.vcpus,
                self._host.memory_mib,
            )

        found = self.records.find_or_create(lambda record: record.owner == spec.owner, new)
        with self.records.locked(found.id) as record:
            if record.deleting:
                raise CloudUnavailable(f"Instance {record.id} is still being deleted.")
            if not self._domains.running(record.id):
                self._start_first(record, spec)
        return self._instance(record)

    def _start_first(self, record: InstanceRecord, spec: InstanceSpec) -> None:
        directory = self.records.path(record.id)
        root, seed = directory / "root.qcow2", directory / "seed.iso"
        try:
            nics = tuple(self._networks.plug(port, record.id) for port in record.port_ids)
            self._images.make_root(record.image_id, root)
            identity = spec.identity
            seed_iso(
                seed,
                instance_id=record.id,
                user=identity.user,
                authorized_key=identity.authorized_key,
                host_key=identity.host_key,
                host_key_public=identity.host_key_public,
                hostname=identity.hostname,
            )
            user = self._host.qemu_user()
            seed.chmod(0o600)
            os.chown(seed, user.uid, user.gid)
            machine = Machine(
                id=record.id,
                name=f"atoll-{record.id[:8]}",
                deployment=self._host.deployment,
                owner=record.owner,
                vcpus=record.vcpus,
                memory_mib=record.memory_mib,
                acceleration=self._host.acceleration(),
                root=root,
                seed=seed,
                console=directory / "console.log",
                nics=nics,
            )
            if self._domains.find(record.id) is None:
                self._domains.define(machine_xml(machine))
            self._start(record)
        except CloudError as error:
            if not error.retryable and self._domains.find(record.id) is None:
                self._forget(record)
            raise

    def _start(self, record: InstanceRecord) -> None:
        """Start a stopped instance, on the current heads of its volumes."""
        volumes = self._volumes.claimed_by(record.id)
        paths = {volume.id: self._volumes.head_path(volume) for volume in volumes}
        self._domains.start(record.id, paths)

    def wait_for_instance(self, instance_id: str, deadline: float) -> Instance:
        """Return when it is active; raise ``CloudError`` with the fault if it fails."""
        end = time.monotonic() + deadline
        while True:
            instance = self.get_instance(instance_id)
            if instance is None:
                raise CloudNotFound(f"There is no instance {instance_id}.")
            if instance.status == InstanceStatus.ACTIVE:
                return instance
            if instance.status != InstanceStatus.BUILDING:
                raise CloudError(instance.fault or f"Instance {instance_id} is stopped.")
            if time.monotonic() > end:
                raise CloudError(f"Instance {instance_id} was not started in {deadline:.0f} s.")
            time.sleep(_POLL_SECONDS)

    def get_instance(self, instance_id: str) -> Instance | None:
        """The instance, or None when it is gone."""
        record = self.records.get(instance_id)
        return self._instance(record) if record else None

    def find_instance(self, name_or_id: str) -> Instance | None:
        """An instance of this deployment by name or id. Others can't be used on this machine."""
        for record in self.records.list():
            if name_or_id in (record.id, record.name):
                return self._instance(record)
        return None

    def list_instances(self) -> list[Instance]:
        """All instances of this deployment, including those without a record."""
        records = self.records.list()
        lost = self._domains.tagged()
        for record in records:
            lost.pop(record.id, None)
        return [self._instance(record) for record in records] + [
            Instance(instance_id, owner, "", InstanceStatus.ERROR, "Its record is lost.")
            for instance_id, owner in lost.items()
        ]

    def stopped(self) -> set[str]:
        """Ids of instances whose QEMU does not run."""
        return self._domains.inactive()

    def reboot_instance(self, instance_id: str, *, soft: bool = False) -> None:
        """Reset it, or ask it to reboot if ``soft``. A stopped instance is started."""
        self.records.expect(instance_id)
        if soft and self._domains.running(instance_id):
            self._domains.press_power_button(instance_id)
            return
        # This comes before the lock, whose holder may be waiting for a QEMU that hangs.
        self._domains.stop(instance_id)
        with self.records.locked(instance_id) as record:
            for port_id in record.port_ids:
                self._networks.plug(port_id, instance_id)
            self._start(record)

    def delete_instance(self, instance_id: str) -> None:
        """Delete it. Its volumes are detached and its ports kept, for use by another instance."""
        if self.records.get(instance_id) is None and instance_id not in self._domains.tagged():
            return
        self._domains.stop(instance_id)
        try:
            with self.records.locked(instance_id) as record:
                self.records.put(replace(record, deleting=True))
                self._domains.stop(instance_id)
                self._domains.remove(instance_id)
        except CloudNotFound:
            self._domains.remove(instance_id)
            return
        for volume in self._volumes.claimed_by(instance_id):
            self._release(volume.id, instance_id)
        self._forget(record)
        self._images.keep_only({record.image_id for record in self.records.list()})

    def fencing(self, instance_id: str) -> Fencing:
        """What is known about the end of an instance, which may be gone."""
        if self.records.get(instance_id) or self._domains.find(instance_id) is not None:
            return Fencing(FencingState.POSSIBLE)
        process = qemu_of(instance_id)
        if process is None:
            return Fencing(FencingState.PROVED)
        reason = (
            f"The QEMU process {process} still runs instance {instance_id}, unknown to libvirt."
        )
        return Fencing(FencingState.DOUBTFUL, reason)

    def fence_instance(self, instance_id: str) -> None:
        """Delete the instance; return only if neither libvirt nor the machine has it any more."""
        self.delete_instance(instance_id)
        found = self.fencing(instance_id)
        if found.state != FencingState.PROVED:
            raise InstanceMayStillRun(
                found.reason or f"libvirt still has instance {instance_id}.",
                hint="End its QEMU process.",
                instance_id=instance_id,
            )

    def attach_volume(self, instance_id: str, volume_id: str) -> None:
        """Plug a volume in. ``VolumeInUse`` if another instance has it."""
        with self._volumes.settled(volume_id) as volume:
            self.records.expect(instance_id)
            volume = self._volumes.claim(volume, instance_id)
            with self.records.locked(instance_id) as record:
                if record.deleting:
                    raise CloudNotFound(f"Instance {instance_id} is being deleted.")
                if volume_id not in self._domains.disks(instance_id):
                    path = self._volumes.layers.path(volume.head)
                    direct = self._volumes.layers.direct
                    self._domains.plug_disk(instance_id, volume_id, path, direct=direct)

    def begin_attaching(self, instance_id: str, volume_id: str) -> bool:
        """Attach a volume. This never takes long here, so it is done when this returns."""
        self.attach_volume(instance_id, volume_id)
        return False

    def detach_volume(self, instance_id: str, volume_id: str) -> None:
        """Unplug a volume; returns when the instance has let go of it."""
        try:
            with self._volumes.settled(volume_id) as volume:
                if volume.instance_id != instance_id:
                    return
                with self._domains.held(instance_id):
                    if self._domains.find(instance_id) is not None:
                        self._domains.unplug_disk(instance_id, volume_id)
                self._volumes.release(volume)
        except CloudNotFound:
            return

    def attach_port(self, instance_id: str, port_id: str) -> None:
        """Plug a port into a running instance (warm instances)."""
        with self.records.locked(instance_id) as record:
            if port_id not in record.port_ids:
                record = self.records.put(replace(record, port_ids=(*record.port_ids, port_id)))
            nic = self._networks.plug(port_id, instance_id)
            if nic.mac not in self._domains.macs(instance_id):
                self._domains.plug_nic(instance_id, nic)

    def connect_ports(self, instance_id: str, deadline: float) -> None:
        """Do nothing, because what is plugged in here is connected at once."""

    def console(self, instance_id: str) -> str:
        """The last lines of its serial console, for messages about a failed boot."""
        log = self.records.path(self.records.expect(instance_id).id) / "console.log"
        try:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - CONSOLE_TAIL))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _release(self, volume_id: str, instance_id: str) -> None:
        try:
            with self._volumes.settled(volume_id) as volume:
                if volume.instance_id == instance_id:
                    self._volumes.release(volume)
        except CloudNotFound:
            return

    def _forget(self, record: InstanceRecord) -> None:
        for port_id in record.port_ids:
            self._networks.unplug(port_id, record.id)
        self.records.delete(record.id)

    def _instance(self, record: InstanceRecord) -> Instance:
        status, fault = self._domains.status(record.id)
        if fault == NO_ROOM and self._volumes.has_room():
            self._domains.resume(record.id)
            status, fault = InstanceStatus.ACTIVE, ""
        return Instance(
            record.id,
            record.owner,
            record.name,
            status,
            fault,
            record.port_ids,
            tuple(self._domains.disks(record.id)),
        )
