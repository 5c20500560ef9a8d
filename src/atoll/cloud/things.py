"""What the ports of a cloud are about: instances, volumes, networks, and findings about them.

Everything here is a value: a copy of what the cloud said, which does not change with it. Sizes are
in GiB, and ids are the cloud's own strings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from atoll.model.states import FencingState, InstanceStatus


def now_text() -> str:
    """The present time in the form of ``created_at``."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Identity:
    """The keys and the name of a service instance, passed to it by config drive or NoCloud."""

    user: str
    authorized_key: str
    host_key: str = field(repr=False)
    """Private host key in OpenSSH's format. Atoll makes it so that it can be pinned."""
    host_key_public: str
    hostname: str


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """What is asked of a new service instance."""

    owner: str
    name: str
    image_id: str
    port_ids: tuple[str, ...]
    identity: Identity
    availability_zone: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """A service instance as the cloud sees it."""

    id: str
    owner: str
    name: str
    status: InstanceStatus
    fault: str = ""
    """The cloud's own words: why it is in ``error``, or why an ``active`` one is paused and will
    continue by itself (until there is room on the disk, for example).
    """
    port_ids: tuple[str, ...] = ()
    volume_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fencing:
    """What the cloud knows about the end of an instance."""

    state: FencingState
    reason: str = ""
    """Why it is ``doubtful``, as a sentence."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A block volume. Inside an instance its disk's serial is its id (decision 6)."""

    id: str
    owner: str
    size_gib: int
    instance_id: str | None = None
    """The instance that it is attached to."""
    created_at: str = field(default="", compare=False)
    """UTC, ISO 8601; empty if the cloud does not say it."""


@dataclass(frozen=True, slots=True)
class VolumeSnapshot:
    """A point-in-time copy of a volume; ``size_gib`` is the volume's size at that time."""

    id: str
    owner: str
    volume_id: str
    size_gib: int
    created_at: str = field(default="", compare=False)
    """UTC, ISO 8601; empty if the cloud does not say it."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool that volumes are made in, with its actual capacity in GiB."""

    name: str
    total_gib: float
    free_gib: float
    allocated_gib: float
    """The sum of all volumes' sizes. It exceeds ``total_gib`` in an over-subscribed pool."""
    thin: bool = True


@dataclass(frozen=True, slots=True)
class Subnet:
    """An address range of a network."""

    id: str
    network_id: str
    cidr: str
    gateway: str | None = None
    ip_version: Literal[4, 6] = 4


@dataclass(frozen=True, slots=True)
class OwnedSubnet:
    """A subnet that ``create_subnet`` made."""

    id: str
    owner: str
    network_id: str
    cidr: str
    router_id: str | None = None
    """The router that ``connect_router`` plugged it into."""


@dataclass(frozen=True, slots=True)
class Network:
    """A layer-2 network with its subnets."""

    id: str
    owner: str
    name: str
    subnets: tuple[Subnet, ...]
    mtu: int = 1500
    type: str = "flat"
    segmentation_id: int | None = None
    device: str = ""
    """The host's bridge, in a cloud that has one (``local``)."""


@dataclass(frozen=True, slots=True)
class Port:
    """A network interface in a network. Its addresses outlive the instance that has it."""

    id: str
    owner: str
    network_id: str
    mac: str
    addresses: tuple[str, ...]
    instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A service image that the cloud can boot."""

    id: str
    name: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``atoll doctor``, in one style: ``Disk space: 20.0 of 50.0 GiB free``."""

    check: str
    """What was checked: a noun that begins with a capital. Each name is used once."""
    ok: bool
    detail: str
    """What was found, without a full stop."""
    todo: str = ""
    """What to do about it, when not ``ok``: a sentence, with commands in 'quotes'."""
