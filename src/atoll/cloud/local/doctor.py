"""What ``atoll doctor`` says about this machine as a cloud."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from atoll.cloud.base import Finding
from atoll.cloud.local.acceleration import EMULATOR, Acceleration, emulator_version
from atoll.cloud.local.connection import Connection
from atoll.cloud.local.images import LocalImages
from atoll.cloud.local.isolation import Isolation
from atoll.cloud.local.volumes import LocalVolumes
from atoll.errors import AtollError

PROGRAMS = {
    EMULATOR: "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "libvirtd": "libvirt-daemon-system",
    "virtlogd": "libvirt-daemon",
    "dnsmasq": "dnsmasq-base",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "xorriso": "xorriso",
    "ssh": "openssh-client",
}


def findings(
    connection: Connection,
    images: LocalImages,
    volumes: LocalVolumes,
    acceleration: Callable[[], Acceleration],
) -> list[Finding]:
    """The findings of all checks. A check that fails does not stop the others."""
    return [
        _packages(),
        _root(),
        _virtualisation(acceleration),
        *_libvirt(connection, volumes.layers.directory),
        _image(images),
        _room(volumes),
        _forwarding(),
    ]


def _packages() -> Finding:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [package for name, package in PROGRAMS.items() if not shutil.which(name, path=path)]
    if missing:
        todo = f"Run 'apt-get install {' '.join(sorted(missing))}'."
        return Finding("Packages", ok=False, detail=f"missing: {', '.join(missing)}", todo=todo)
    return Finding("Packages", ok=True, detail=emulator_version())


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding("Permissions", ok=True, detail="runs as root")
    todo = "Run Atoll as root: it makes bridges and firewall rules."
    return Finding("Permissions", ok=False, detail=f"runs as user {os.geteuid()}", todo=todo)


def _virtualisation(acceleration: Callable[[], Acceleration]) -> Finding:
    if acceleration() == "kvm":
        return Finding("Virtualisation", ok=True, detail="KVM ran a test guest")
    there = Path("/dev/kvm").exists()
    why = "QEMU's user can't run a test guest with /dev/kvm" if there else "no /dev/kvm"
    # This is only slow: everything works, and boots take tens of seconds.
    detail = f"{why}: instances run on TCG (emulated), about ten times slower"
    return Finding("Virtualisation", ok=True, detail=detail)


def _libvirt(connection: Connection, layers: Path) -> Iterator[Finding]:
    try:
        version = connection().getLibVersion()
        user = connection.qemu_user()
    except AtollError as error:
        todo = "Install libvirt-daemon-system, or start the machine's libvirtd."
        yield Finding("Libvirt", ok=False, detail=str(error), todo=todo)
        return
    number = f"{version // 1_000_000}.{version // 1_000 % 1_000}.{version % 1_000}"
    whose = "our own daemon" if connection.daemon.is_own else "the machine's daemon"
    yield Finding("Libvirt", ok=True, detail=f"{number}, {whose}, QEMU runs as uid {user.uid}")
    closed = [path for path in layers.parents if not path.stat().st_mode & 0o001]
    if closed and user.uid != 0:
        todo = f"Run 'chmod o+x {closed[0]}', or move the state directory."
        detail = f"QEMU can't reach its disks: {closed[0]} is closed to other users"
        yield Finding("Way to disks", ok=False, detail=detail, todo=todo)
    else:
        yield Finding("Way to disks", ok=True, detail=f"QEMU reaches {layers.parent}")


def _image(images: LocalImages) -> Finding:
    try:
        image = images.service_image()
    except AtollError as error:
        todo = error.hint or "Correct first what the line 'Libvirt' says."
        return Finding("Service image", ok=False, detail=error.message, todo=todo)
    return Finding("Service image", ok=True, detail=f"{images.source} ({image.checksum[:12]})")


def _room(volumes: LocalVolumes) -> Finding:
    (pool,) = volumes.pools()
    detail = (
        f"{pool.free_gib:.1f} of {pool.total_gib:.1f} GiB free,"
        f" {pool.allocated_gib:.0f} GiB promised to volumes"
    )
    if volumes.has_room():
        return Finding("Disk space", ok=True, detail=detail)
    todo = "Free some space, move the state directory, or lower 'reserved_gib'."
    return Finding("Disk space", ok=False, detail=detail, todo=todo)


def isolation(of: Isolation) -> Finding:
    """Whether all rules that keep instances apart are in the kernel."""
    if differs := of.differs():
        todo = "A running worker restores them within seconds: does one run on this machine?"
        return Finding("Isolation", ok=False, detail=" ".join(differs), todo=todo)
    return Finding("Isolation", ok=True, detail="the firewall's rules are complete")


def _forwarding() -> Finding:
    try:
        forwards = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"
    except OSError:
        forwards = False
    detail = "on, and our rules keep it from our bridges" if forwards else "off; not needed"
    return Finding("Packet forwarding", ok=True, detail=detail)
