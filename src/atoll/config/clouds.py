"""The clouds that do with no other: this machine, and a simulated one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from atoll.config.section import GiB, Section


class Local(Section, frozen=True):
    """The cloud ``local``: this machine."""

    libvirt_uri: str = ""
    """Empty: the machine's libvirt daemon, or one of our own where none runs."""
    service_image: Path | None = None
    """Empty: what ``atoll image build`` made."""
    image_cache: Path = Path("/var/cache/atoll/images")
    """Where ``atoll image build`` keeps images."""
    service_network_cidr: str = "10.254.0.0/24"
    """Service network; where this machine uses it already, the next free range of that size."""
    share_network_pool: str = "10.88.0.0/16"
    """Range that share networks are cut from."""
    share_network_prefix: Annotated[int, Meta(ge=8, le=29)] = 24
    """Prefix length of each share network."""
    acceleration: Literal["auto", "kvm", "tcg"] = "auto"
    """``auto`` takes KVM where a test guest ran with it, else TCG (emulation)."""
    vcpus: Annotated[int, Meta(gt=0)] = 1
    """Virtual CPUs of a service instance."""
    memory_mib: Annotated[int, Meta(ge=256)] = 512
    """Memory of a service instance, MiB."""
    reserved_gib: Annotated[float, Meta(ge=0)] = 2
    """GiB that stay free on the host's disk."""
    max_over_subscription_ratio: Annotated[float, Meta(ge=1)] = 20
    """Volumes may be promised so many times the size of the host's disk."""


class Memory(Section, frozen=True):
    """The simulated cloud ``memory``."""

    boot_seconds: Annotated[float, Meta(ge=0)] = 0
    """Seconds that a simulated instance takes to boot."""
    capacity_gib: GiB = 1_000_000
    """Size of the simulated storage."""
