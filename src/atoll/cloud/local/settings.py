"""Options about this machine (the section ``[local]`` of the configuration)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Everything below ``state_dir/local`` belongs to Atoll."""

    state_dir: Path
    libvirt_uri: str = ""
    """If it is empty: the machine's libvirt daemon, or Atoll's own if none runs."""
    image: Path | None = None
    """The service image; None if none was built yet."""
    service_network_cidr: str = "10.254.0.0/24"
    """If the machine uses it already, the next free range of that size is taken."""
    share_network_pool: str = "10.88.0.0/16"
    share_network_prefix: int = 24
    acceleration: Literal["auto", "kvm", "tcg"] = "auto"
    vcpus: int = 1
    memory_mib: int = 512
    reserved_gib: float = 2
    """Space that stays free on the host's disk."""
    max_over_subscription_ratio: float = 20
