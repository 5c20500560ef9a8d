"""Instances in libvirt: power, disks and interfaces. It knows files, but not volumes' records."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import libvirt

from atoll.cloud.base import InstanceStatus
from atoll.cloud.local import domain as xml
from atoll.cloud.local.connection import Connection, translated
from atoll.cloud.local.processes import kill_if_frozen
from atoll.cloud.local.records import is_id, locked
from atoll.errors import CloudError, CloudNotFound, CloudUnavailable

DETACH_SECONDS = 60.0
QUIET_SECONDS = 5.0
LAST_UNIT = 16383
NO_ROOM = "The instance is paused until the host's disk has room again."
_RUNNING = {libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED, libvirt.VIR_DOMAIN_PAUSED}
_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
_CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG


class Domains:
    """libvirt's domains, by instance id (their UUID). It raises Atoll's errors."""

    def __init__(self, connection: Connection, deployment: str, instances: Path) -> None:
        self._connection = connection
        self._deployment = deployment
        self._instances = instances

    @contextmanager
    def held(self, instance_id: str) -> Iterator[None]:
        """Keep an instance from being started, stopped or changed by another caller.

        An empty id, or an instance that is gone, needs no lock.
        """
        with ExitStack() as stack:
            if instance_id:
                with suppress(FileNotFoundError):
                    stack.enter_context(locked(self._instances / instance_id))
            yield

    def find(self, instance_id: str) -> libvirt.virDomain | None:
        """The domain, or None."""
        if not is_id(instance_id):
            return None
        try:
            with translated("Looking for an instance"):
                return self._connection().lookupByUUIDString(instance_id)
        except CloudNotFound:
            return None

    def expect(self, instance_id: str) -> libvirt.virDomain:
        """The domain. Raises ``CloudNotFound``."""
        found = self.find(instance_id)
        if found is None:
            raise CloudNotFound(f"There is no instance {instance_id}.")
        return found

    def tagged(self) -> dict[str, str]:
        """Owner of each of this deployment's domains, with or without a record."""
        owners = {}
        with translated("Listing instances"):
            for domain in self._connection().listAllDomains():
                tag = xml.read_tag(domain.XMLDesc())
                if tag is not None and tag[0] == self._deployment:
                    owners[domain.UUIDString()] = tag[1]
        return owners

    def inactive(self) -> set[str]:
        """Ids of all domains without a QEMU process, also those of other deployments."""
        with translated("Listing stopped instances"):
            found = self._connection().listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE)
            return {domain.UUIDString() for domain in found}

    def status(self, instance_id: str) -> tuple[InstanceStatus, str]:
        """The instance's status, and the reason if it is stopped by an error or held up."""
        found = self.find(instance_id)
        if found is None:
            return InstanceStatus.BUILDING, ""
        with translated("Instance state"):
            state, reason = found.state()
        if state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR:
            return InstanceStatus.ACTIVE, NO_ROOM
        if state in _RUNNING:
            return InstanceStatus.ACTIVE, ""
        if state == libvirt.VIR_DOMAIN_CRASHED:
            return InstanceStatus.ERROR, "The instance crashed."
        return InstanceStatus.STOPPED, ""

    def running(self, instance_id: str) -> bool:
        """Whether a QEMU process runs for it."""
        found = self.find(instance_id)
        with translated("Instance state"):
            return found is not None and bool(found.isActive())

    def define(self, definition: str) -> None:
        """Define an instance, which ``start`` then starts."""
        with translated("Defining an instance"):
            self._connection().defineXML(definition)

    def start(self, instance_id: str, paths: dict[str, Path]) -> None:
        """Start a stopped instance with its volumes in these files."""
        found = self.expect(instance_id)
        with translated("Starting an instance"):
            if found.isActive():
                return
            stored = found.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            self._connection().defineXML(xml.with_disk_paths(stored, paths)).create()

    def press_power_button(self, instance_id: str) -> None:
        """Ask the guest to reboot."""
        with translated("Rebooting an instance"):
            self.expect(instance_id).reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)

    def stop(self, instance_id: str) -> None:
        """End its QEMU, even if it hangs. Calls that wait for its answer then raise an error."""
        found = self.find(instance_id)
        if found is None or not self.running(instance_id):
            return
        kill_if_frozen(instance_id)
        try:
            with translated("Stopping an instance"):
                found.destroy()
        except CloudError:
            if self.running(instance_id):
                raise

    def resume(self, instance_id: str) -> None:
        """Resume an instance that was paused because the disk was full."""
        with translated("Resuming an instance"):
            self.expect(instance_id).resume()

    def remove(self, instance_id: str) -> None:
        """Undefine it, once it is stopped. It may be gone already."""
        found = self.find(instance_id)
        if found is None:
            return
        try:
            with translated("Deleting an instance"):
                found.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        except CloudNotFound:
            return

    def disks(self, instance_id: str) -> dict[str, xml.Disk]:
        """Ids of the volumes that it has now."""
        found = self.find(instance_id)
        if found is None:
            return {}
        with translated("Instance's disks"):
            return xml.read_disks(found.XMLDesc())

    def macs(self, instance_id: str) -> set[str]:
        """The interfaces that it has now."""
        with translated("Instance's interfaces"):
            return xml.read_macs(self.expect(instance_id).XMLDesc())

    def plugs(self) -> list[tuple[str, str]]:
        """Bridge and device of each interface of this deployment's running instances."""
        found = []
        with translated("Listing instances"):
            for domain in self._connection().listAllDomains(
                libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
            ):
                definition = domain.XMLDesc()
                tag = xml.read_tag(definition)
                if tag is not None and tag[0] == self._deployment:
                    found += xml.read_plugs(definition)
        return found

    def plug_nic(self, instance_id: str, nic: xml.Nic) -> None:
        """Plug an interface in, also for later starts."""
        found = self.expect(instance_id)
        with translated("Plugging in a port"):
            element = ET.tostring(xml.nic_element(nic), encoding="unicode")
            found.attachDeviceFlags(element, self._both(found))

    def plug_disk(self, instance_id: str, volume_id: str, path: Path, *, direct: bool) -> None:
        """Attach a volume at the lowest free unit, also for later starts."""
        found = self.expect(instance_id)
        with translated("Attaching a volume"):
            taken = self._units(found)
            unit = next(n for n in range(xml.FIRST_VOLUME_UNIT, LAST_UNIT) if n not in taken)
            element = xml.disk_element(xml.Disk(volume_id, path, unit, direct))
            found.attachDeviceFlags(ET.tostring(element, encoding="unicode"), self._both(found))

    def unplug_disk(self, instance_id: str, volume_id: str) -> None:
        """Detach a volume. It returns when QEMU has released it."""
        found = self.expect(instance_id)
        with translated("Detaching a volume"):
            for scope in (libvirt.VIR_DOMAIN_XML_INACTIVE, 0):
                disk = xml.read_disks(found.XMLDesc(scope)).get(volume_id)
                active = found.isActive()
                if disk is None or (scope == 0 and not active):
                    continue
                if active:
                    self._quiet(found, volume_id)
                element = ET.tostring(xml.disk_element(disk), encoding="unicode")
                found.detachDeviceFlags(element, _LIVE if scope == 0 else _CONFIG)
        end = time.monotonic() + DETACH_SECONDS
        while volume_id in self.disks(instance_id):
            if time.monotonic() > end:
                raise CloudUnavailable(f"Instance {instance_id} does not release a volume.")
            time.sleep(0.02)

    def switch_disk(self, instance_id: str, volume_id: str, fresh: Path) -> None:
        """Switch a running instance's disk to a new file on top of the present one."""
        found = self.expect(instance_id)
        with translated("Snapshot of a volume"):
            target = self._quiet(found, volume_id)
            found.snapshotCreateXML(
                xml.snapshot_xml(target, fresh),
                libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
                | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
                | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
                | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC,
            )

    def resize_disk(self, instance_id: str, volume_id: str, size: int) -> None:
        """Grow a running instance's disk to ``size`` bytes."""
        found = self.expect(instance_id)
        with translated("Growing a volume"):
            target = self._quiet(found, volume_id)
            found.blockResize(target, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)

    def merge(self, instance_id: str, volume_id: str, upper: Path, lower: Path) -> None:
        """Begin to copy one file of a running instance's disk into the one below it."""
        found = self.expect(instance_id)
        with translated("Merging layers"):
            target = self._quiet(found, volume_id)
            found.blockCommit(target, str(lower), str(upper), 0, 0)

    def is_merging(self, instance_id: str, volume_id: str) -> bool:
        """Whether that is still in progress."""
        disk = self.disks(instance_id).get(volume_id)
        if disk is None or not self.running(instance_id):
            return False
        with translated("Merging layers"):
            return bool(self.expect(instance_id).blockJobInfo(disk.target))

    @staticmethod
    def _quiet(found: libvirt.virDomain, volume_id: str) -> str:
        """Cancel a merge that is in the way, without losing data. Returns the disk's name.

        A merge that ends at this moment can't be cancelled. QEMU or libvirt refuses, and a moment
        later the merge is over.
        """
        target = xml.read_disks(found.XMLDesc())[volume_id].target
        end = time.monotonic() + QUIET_SECONDS
        while found.blockJobInfo(target):
            try:
                found.blockJobAbort(target)
                break  # the abort has waited for the end
            except libvirt.libvirtError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        return target

    @staticmethod
    def _both(found: libvirt.virDomain) -> int:
        return int(_CONFIG | (_LIVE if found.isActive() else 0))

    @staticmethod
    def _units(found: libvirt.virDomain) -> set[int]:
        """Unit numbers in use now or at the next start."""
        scopes = (0, libvirt.VIR_DOMAIN_XML_INACTIVE)
        return {d.unit for scope in scopes for d in xml.read_disks(found.XMLDesc(scope)).values()}
