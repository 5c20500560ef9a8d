"""libvirt's XML of an instance, built from typed parts, and read back.

It is a q35 machine with the root disk on virtio-blk, the seed CD and every share volume on one
virtio-scsi controller (Atoll chooses the unit numbers, because libvirt itself gives out only about
a dozen), a serial console into a file, a watchdog that resets it if its kernel hangs, and spare
PCIe ports for interfaces that are plugged in later.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from atoll.cloud.local.acceleration import Acceleration

NAMESPACE = "https://atoll-project.org/xmlns/libvirt/1"
SPARE_PCIE_PORTS = 12
TRANSLATION_CACHE_MIB = 128
"""The size of TCG's cache of translated code. QEMU's default is a GiB for each guest."""
_SEED_UNIT = 0
_WATCHDOG_SLOT = "0x10"
"""A slot of the root bus that neither the chipset nor libvirt's own choices use."""
FIRST_VOLUME_UNIT = 1

ET.register_namespace("atoll", NAMESPACE)


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface."""

    mac: str
    bridge: str
    isolated: bool
    """Whether it can't reach the bridge's other isolated interfaces, as in the service network.
    """
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Disk:
    """A share volume's disk. Its serial is the volume's id."""

    volume_id: str
    path: Path
    unit: int
    direct: bool
    """Whether it bypasses the host's page cache, which not every file system can."""

    @property
    def target(self) -> str:
        """libvirt's name for it. The guest chooses its own."""
        letters, number = "", self.unit
        while number >= 0:
            letters = chr(ord("a") + number % 26) + letters
            number = number // 26 - 1
        return f"sd{letters}"


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance, as it is defined."""

    id: str
    name: str
    deployment: str
    owner: str
    vcpus: int
    memory_mib: int
    acceleration: Acceleration
    root: Path
    seed: Path
    console: Path
    nics: tuple[Nic, ...]
    disks: tuple[Disk, ...] = ()


def machine_xml(machine: Machine) -> str:
    """The whole domain."""
    kvm = machine.acceleration == "kvm"
    root = ET.Element("domain", type="kvm" if kvm else "qemu")
    _text(root, "uuid", machine.id)
    _text(root, "name", machine.name)
    tag = ET.SubElement(ET.SubElement(root, "metadata"), f"{{{NAMESPACE}}}instance")
    tag.set("deployment", machine.deployment)
    tag.set("owner", machine.owner)
    _text(root, "memory", str(machine.memory_mib), unit="MiB")
    _text(root, "vcpu", str(machine.vcpus))
    system = ET.SubElement(root, "os")
    _text(system, "type", "hvm", arch="x86_64", machine="q35")
    ET.SubElement(system, "boot", dev="hd")
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if not kvm:
        cache = ET.SubElement(features, "tcg")
        _text(cache, "tb-cache", str(TRANSLATION_CACHE_MIB), unit="MiB")
    ET.SubElement(root, "cpu", mode="host-passthrough" if kvm else "maximum")
    ET.SubElement(root, "clock", offset="utc")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "restart")):
        _text(root, f"on_{event}", action)
    _devices(ET.SubElement(root, "devices"), machine)
    return ET.tostring(root, encoding="unicode")


def _devices(devices: ET.Element, machine: Machine) -> None:
    ET.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for _ in range(SPARE_PCIE_PORTS):
        ET.SubElement(devices, "controller", type="pci", model="pcie-root-port")
    ET.SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi")
    ET.SubElement(devices, "controller", type="usb", model="none")
    # No data is on the root disk (decision 4), so it never waits for the host's disk.
    root = _file_disk(devices, machine.root, "qcow2", cache="unsafe", discard="unmap")
    ET.SubElement(root, "target", dev="vda", bus="virtio")
    seed = _file_disk(devices, machine.seed, "raw")
    seed.set("device", "cdrom")
    ET.SubElement(seed, "target", dev="sda", bus="scsi")
    ET.SubElement(seed, "readonly")
    _scsi_address(seed, _SEED_UNIT)
    for disk in machine.disks:
        devices.append(disk_element(disk))
    for nic in machine.nics:
        devices.append(nic_element(nic))
    console = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(console, "source", path=str(machine.console), append="on")
    ET.SubElement(console, "target", port="0")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    # The image's atoll-watchdog starts and feeds it; older images leave it alone.
    watchdog = ET.SubElement(devices, "watchdog", model="i6300esb", action="reset")
    # Without an address libvirt would add a bridge for it, because it is an old PCI device.
    ET.SubElement(watchdog, "address", type="pci", bus="0x00", slot=_WATCHDOG_SLOT)
    ET.SubElement(devices, "memballoon", model="none")


def disk_element(disk: Disk) -> ET.Element:
    """A share volume's disk."""
    holder = ET.Element("devices")
    options = {"cache": "none", "io": "native"} if disk.direct else {"cache": "writeback"}
    element = _file_disk(holder, disk.path, "qcow2", discard="unmap", **options)
    ET.SubElement(element, "target", dev=disk.target, bus="scsi")
    _text(element, "serial", disk.volume_id)
    _scsi_address(element, disk.unit)
    return element


def nic_element(nic: Nic) -> ET.Element:
    """An interface on a bridge."""
    element = ET.Element("interface", type="bridge")
    ET.SubElement(element, "mac", address=nic.mac)
    ET.SubElement(element, "source", bridge=nic.bridge)
    ET.SubElement(element, "model", type="virtio")
    ET.SubElement(element, "rom", enabled="no")
    ET.SubElement(element, "mtu", size=str(nic.mtu))
    if nic.isolated:
        ET.SubElement(element, "port", isolated="yes")
    return element


def snapshot_xml(target: str, fresh: Path) -> str:
    """Switch a disk to the file ``fresh``, whose base is the disk's file until now."""
    root = ET.Element("domainsnapshot")
    disk = ET.SubElement(ET.SubElement(root, "disks"), "disk", name=target, snapshot="external")
    ET.SubElement(disk, "driver", type="qcow2")
    _source(disk, fresh)
    return ET.tostring(root, encoding="unicode")


def read_disks(xml: str) -> dict[str, Disk]:
    """The share volumes' disks in a domain's XML, by volume id."""
    found = {}
    for element in parsed(xml).iterfind("./devices/disk[serial]"):
        source, address = element.find("source"), element.find("address")
        driver = element.find("driver")
        if source is None or address is None or driver is None:
            continue
        volume_id = element.findtext("serial", "")
        path, unit = Path(source.get("file", "")), int(address.get("unit", "0"))
        found[volume_id] = Disk(volume_id, path, unit, driver.get("cache") == "none")
    return found


def read_macs(xml: str) -> set[str]:
    """The interfaces in a domain's XML."""
    found = parsed(xml).iterfind("./devices/interface/mac")
    return {element.get("address", "").lower() for element in found}


def read_plugs(xml: str) -> list[tuple[str, str]]:
    """Bridge and device of each interface in a running domain's XML."""
    found = []
    for element in parsed(xml).iterfind("./devices/interface"):
        source, target = element.find("source"), element.find("target")
        if source is not None and target is not None:
            found.append((source.get("bridge", ""), target.get("dev", "")))
    return found


def read_tag(xml: str) -> tuple[str, str] | None:
    """Deployment and owner of a domain or network, if Atoll has made it."""
    tag = parsed(xml).find(f"./metadata/{{{NAMESPACE}}}instance")
    return None if tag is None else (tag.get("deployment", ""), tag.get("owner", ""))


def with_disk_paths(xml: str, paths: dict[str, Path]) -> str:
    """A stopped domain's XML with its volumes' disks in these files."""
    root = parsed(xml)
    for element in root.iterfind("./devices/disk[serial]"):
        path = paths.get(element.findtext("serial", ""))
        source, chain = element.find("source"), element.find("backingStore")
        if path is not None and source is not None:
            source.set("file", str(path))
        if chain is not None:
            element.remove(chain)
    return ET.tostring(root, encoding="unicode")


def parsed(xml: str) -> ET.Element:
    """libvirt's XML as a tree.

    It is trusted, because it comes from Atoll's own daemon or root's.
    """
    return ET.fromstring(xml)  # noqa: S314


def _file_disk(devices: ET.Element, path: Path, file_format: str, **options: str) -> ET.Element:
    # A snapshot is of one volume at a time, so other disks take part only if they are named.
    disk = ET.SubElement(devices, "disk", type="file", device="disk", snapshot="no")
    ET.SubElement(disk, "driver", {"name": "qemu", "type": file_format, **options})
    _source(disk, path)
    return disk


def _source(disk: ET.Element, path: Path) -> None:
    source = ET.SubElement(disk, "source", file=str(path))
    # Atoll gives files to QEMU's user itself, because libvirt would take shared layers back.
    ET.SubElement(source, "seclabel", model="dac", relabel="no")


def _scsi_address(disk: ET.Element, unit: int) -> None:
    place = {"type": "drive", "controller": "0", "bus": "0", "target": "0", "unit": str(unit)}
    ET.SubElement(disk, "address", place)


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text
