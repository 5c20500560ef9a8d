"""The port to a service instance's guest agent: verbs that take wanted state, nothing else.

The wire is newline-delimited JSON over the agent's stdin and stdout. First the agent says
``{"hello": {"protocol": 1, "boot_id": "..."}}``; then requests
``{"id": 7, "verb": "apply_share", "fence": 12, "deadline": 30.0, "args": {...}}`` are answered in
any order by ``{"id": 7, "result": {...}}`` or ``{"id": 7, "error": {"code": "...", "message":
"..."}}``. Verbs that change a share carry the fence of the operation behind them; the agent keeps
the highest it has seen for each share and refuses older ones (``StaleFence``).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal, Protocol

from msgspec import Meta

from atoll.guest.agent import rules as agent_rules

AccessLevel = Literal["rw", "ro"]
Squash = Literal["root_squash", "no_root_squash", "all_squash"]
FileSystem = Literal["ext4", "xfs"]
ShareProtocol = Literal["NFS", "CIFS"]

# Bounds of an instance's answers: each value fits its column, and each list has a longest length.
Amount = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
ShareId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Step = Annotated[str, Meta(pattern=r"^[a-z_]{1,40}$")]


@dataclass(frozen=True, slots=True)
class Access:
    """How to log in to a service instance: needed for every channel to it."""

    user: str
    address: str
    private_key: str = field(repr=False)
    host_key_public: str


@dataclass(frozen=True, slots=True)
class ExportRule:
    """One client that may mount: ``to`` is an IP address, a CIDR or (CIFS) a user name."""

    type: Literal["ip", "user"]
    to: str
    level: AccessLevel


@dataclass(frozen=True, slots=True)
class WantedShare:
    """All that the agent must know of a share to serve it. Applying it twice changes nothing."""

    share_id: str
    serial: str
    """The volume's id; the device is found by it (decision 6)."""
    file_system: FileSystem
    may_format: bool
    """mkfs is allowed, on a device without any signature; never on a clone or at a repair."""
    path: str
    """Mount point, e.g. ``/shares/<share id>``; also what clients mount."""
    protocol: ShareProtocol
    fsid: str
    """UUID that NFS file handles carry: stable for the share's life, never a clone parent's.

    A file system that carries another UUID (a clone has its parent's) is given this one before it
    is mounted, so that two of them fit into one instance.
    """
    rules: tuple[ExportRule, ...] | None = ()
    """The whole wanted set, most specific first. None leaves the exports (rules, squash and
    ``exported``) exactly as they are, for a caller that only grows or mounts the share."""
    squash: Squash = "root_squash"
    name: str = ""
    """CIFS share name; empty means the last part of ``path``."""
    exported: bool = True
    """False keeps the file system mounted but no client let in."""
    private: bool = False
    """Others use the same instance: none of its clients can list its shares. For NFS this means
    that the instance serves no NFS 3."""
    least_gib: int = 0
    """The device is at least this large, or becomes so in a moment: clouds are late to tell an
    instance that its volume has grown."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """One freeze of a share's file system; only a thaw of this freeze ends it with success."""

    asker: str
    """What it is for, e.g. ``snapshot/<id>``."""
    takes_over: bool = False
    """Whether it ends another asker's freeze, instead of being refused."""
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    """Distinguishes it from earlier freezes of the same asker."""


@dataclass(frozen=True, slots=True)
class AppliedShare:
    """What the agent found or made true."""

    size_bytes: Amount
    used_bytes: Amount
    formatted: bool
    rejected_rules: dict[str, str] = field(default_factory=dict)
    """``rule.to`` of rules that the server software refused, with its words."""
    steps: Annotated[dict[Step, Seconds], Meta(max_length=50)] = field(default_factory=dict)
    """Seconds that each step took in the instance, for logs and benchmarks."""


@dataclass(frozen=True, slots=True)
class ShareUsage:
    """Size of a share's file system, as ``df`` has it, in bytes."""

    share_id: ShareId
    size_bytes: Amount
    used_bytes: Amount


@dataclass(frozen=True, slots=True)
class ServedShare:
    """One share as the instance really has it at this moment."""

    share_id: ShareId
    mounted: bool
    exported: bool
    fence: Amount
    rules_digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    """``digest(rules, squash)`` of what is exported; compared instead of long rule lists."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the instance is."""

    boot_id: Annotated[str, Meta(max_length=64)]
    nfs_running: bool
    smb_running: bool
    uptime_seconds: Seconds
    shares: Annotated[tuple[ServedShare, ...], Meta(max_length=20_000)] = ()


def digest(rules: Iterable[ExportRule], squash: Squash) -> str:
    """What is exported, in short: the same for the same rules in any order and spelling."""
    return agent_rules.digest((asdict(rule) for rule in rules), squash)


class Guest(Protocol):
    """A service instance's agent. Deadlines are in seconds.

    Every call raises ``GuestUnreachable`` when the instance does not answer in time,
    ``StaleFence`` for an out-dated operation and ``GuestError`` when the agent failed.
    """

    def apply_share(self, wanted: WantedShare, *, fence: int, deadline: float = 60) -> AppliedShare:
        """Find the device, format it if allowed, mount, grow to the device's size, export.

        Adds rules before it removes any; a client that stays allowed is never cut.
        Raises ``DeviceNotBlank`` where formatting would be needed but isn't safe.
        """

    def remove_share(self, share_id: str, path: str, *, fence: int, deadline: float = 60) -> None:
        """Unexport, drop clients' state, unmount, forget. Absent is fine."""

    def freeze_share(self, share_id: str, path: str, freeze: Freeze, *, seconds: float) -> None:
        """Freeze the file system; thawed by itself after ``seconds`` or when the channel ends.

        A share has one freeze at a time. An earlier one of the same asker ends, and its thaw will
        fail; while another asker's holds, ``GuestBusy`` is raised, unless ``freeze`` takes over.
        """

    def thaw_share(self, share_id: str, path: str, freeze: Freeze) -> None:
        """Undo this freeze, and no other. Raises ``FreezeLost`` unless it held until now."""

    def usage(self, *, deadline: float = 10) -> tuple[ShareUsage, ...]:
        """Sizes of all shares, one round trip."""

    def health(self, *, deadline: float = 10) -> Health:
        """What the instance really serves, one round trip."""

    def close(self) -> None:
        """End the channel; the instance goes on serving."""
