"""Programs that tests call: which package brings each, and what to do where one is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness import postgres

ROOT = Path(__file__).parents[1]

PACKAGES = {
    "blkid": "util-linux",
    "cpio": "cpio",
    "flock": "util-linux",
    "ip": "iproute2",
    "iptables": "iptables",
    "losetup": "mount",
    "mount": "mount",
    "mkfs.xfs": "xfsprogs",
    "mke2fs": "e2fsprogs",
    "mkfs.ext4": "e2fsprogs",
    "nft": "nftables",
    "postgres": "postgresql",
    "prlimit": "util-linux",
    "python3": "python3",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "ssh": "openssh-client",
    "setpriv": "util-linux",
    "sfdisk": "fdisk",
    "ssh-keygen": "openssh-client",
    "umount": "mount",
    "unshare": "util-linux",
    "xfs_io": "xfsprogs",
    "xorriso": "xorriso",
}
"""All that tests need beyond the standard library; ``scripts/apt-packages`` brings them."""

ESSENTIAL = ("cp", "sh", "sync", "touch", "true")
"""Programs of packages that every Debian has (``Essential: yes``)."""

MODULES = ("keystonemiddleware", "libvirt", "manilaclient", "openstack", "psycopg", "schemathesis")
"""Libraries without which tests are skipped; they come with the project's environment."""

OPTIONAL = {
    "ovsdb-server": "openvswitch-switch",
    "ovsdb-tool": "openvswitch-switch",
    "ovs-vsctl": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
}
"""What a developer's machine should not get by the way: this one starts daemons."""


def path_of(program: str) -> str | None:
    """Where a program is, also where the user's PATH lacks the system's; None: nowhere."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def reason(program: str) -> str:
    """Why a test is skipped."""
    package = {**PACKAGES, **OPTIONAL}[program]
    return f"{program} is not installed (apt-get install {package})"


def need(*programs: str) -> None:
    """Skip this test where one of them is missing; ``test_programs.py`` fails then."""
    for program in programs:
        if path_of(program) is None:
            pytest.skip(reason(program))


def needs(program: str) -> pytest.MarkDecorator:
    """The same as a mark."""
    return pytest.mark.skipif(path_of(program) is None, reason=reason(program))


def need_postgres() -> Path:
    """Where PostgreSQL's server programs are; skips where they are missing."""
    found = postgres.programs()
    if found is None:
        pytest.skip(reason("postgres"))
    return found


def listed_packages() -> set[str]:
    """What the set-up installs."""
    lines = (ROOT / "scripts/apt-packages").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}
