"""The clouds that need no OpenStack: this machine, and a simulated cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from atoll.config.section import GiB, Section


class Local(Section, frozen=True):
    """The cloud ``local``: this machine."""

    libvirt_uri: str = ""
    """URI of libvirt; empty: the machine's libvirt daemon, or Atoll's own if none runs."""
    service_image: Path | None = None
    """Path of the service image; empty: the result of ``atoll image build``."""
    image_cache: Path = Path("/var/cache/atoll/images")
    """Where ``atoll image build`` keeps images."""
    service_network_cidr: str = "10.254.0.0/24"
    """Range of the service network; if it is in use already, the next free range of its size."""
    share_network_pool: str = "10.88.0.0/16"
    """Range from which share networks get their subnets."""
    share_network_prefix: Annotated[int, Meta(ge=8, le=29)] = 24
    """Prefix length of each share network."""
    acceleration: Literal["auto", "kvm", "tcg"] = "auto"
    """``auto`` uses KVM if a test guest runs with it, else TCG (emulation)."""
    vcpus: Annotated[int, Meta(gt=0)] = 1
    """Virtual CPUs of a service instance."""
    memory_mib: Annotated[int, Meta(ge=256)] = 512
    """Memory of a service instance in MiB."""
    reserved_gib: Annotated[float, Meta(ge=0)] = 2
    """GiB of the host's disk that remain free."""
    max_over_subscription_ratio: Annotated[float, Meta(ge=1)] = 20
    """The volumes may have this multiple of the size of the host's disk."""


class Memory(Section, frozen=True):
    """The simulated cloud ``memory``."""

    boot_seconds: Annotated[float, Meta(ge=0)] = 0
    """Seconds that a simulated instance takes to boot."""
    capacity_gib: GiB = 1_000_000
    """Size of the simulated storage."""
