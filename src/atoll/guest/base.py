"""The interface to a service instance's guest agent: verbs that take a wanted state.

The protocol is newline-delimited JSON over the agent's stdin and stdout. First the agent sends
``{"hello": {"protocol": 1, "boot_id": "..."}}``; then requests
``{"id": 7, "verb": "apply_share", "fence": 12, "deadline": 30.0, "args": {...}}`` are answered in
any order by ``{"id": 7, "result": {...}}`` or ``{"id": 7, "error": {"code": "...", "message":
"..."}}``. Verbs that change a share carry the fence of their operation. The agent stores the
highest fence of each share and refuses lower ones (``StaleFence``).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal, Protocol

from msgspec import Meta

from atoll.guest.agent import rules as agent_rules
from atoll.model.states import FileSystemState

AccessLevel = Literal["rw", "ro"]
Squash = Literal["root_squash", "no_root_squash", "all_squash"]
FileSystem = Literal["ext4", "xfs"]
ShareProtocol = Literal["NFS", "CIFS"]

# Bounds of an instance's answers: values must fit their columns, and lists have a maximum length.
Amount = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
ShareId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Client = Annotated[str, Meta(pattern=r"^[!-~]{1,255}$")]
Step = Annotated[str, Meta(pattern=r"^[a-z_]{1,40}$")]


@dataclass(frozen=True, slots=True)
class Access:
    """How to log in to a service instance, which every channel to it needs."""

    user: str
    address: str
    private_key: str = field(repr=False)
    host_key_public: str


@dataclass(frozen=True, slots=True)
class ExportRule:
    """A client that may mount. ``to`` is an IP address, a CIDR or, for CIFS, a user name."""

    type: Literal["ip", "user"]
    to: Client
    level: AccessLevel


@dataclass(frozen=True, slots=True)
class WantedShare:
    """All that the agent needs to serve a share. Applying it again changes nothing."""

    share_id: str
    serial: str
    """The volume's id; the device is found by it (decision 6)."""
    file_system: FileSystem
    may_format: bool
    """Whether mkfs is allowed on a blank device. It never is for a clone or a repair."""
    path: str
    """Mount point, e.g. ``/shares/<share id>``; also what clients mount."""
    protocol: ShareProtocol
    fsid: str
    """The UUID in NFS file handles. It never changes, and differs from that of a clone's parent.

    A file system with another UUID (a clone has its parent's) gets this one before it is mounted,
    so that parent and clone can be on the same instance.
    """
    rules: tuple[ExportRule, ...] | None = ()
    """All wanted rules, most specific first. None keeps the exports (rules, squash and
    ``exported``) as they are, for a caller that only extends or mounts the share."""
    squash: Squash = "root_squash"
    name: str = ""
    """CIFS share name; empty means the last part of ``path``."""
    exported: bool = True
    """False keeps the file system mounted, but admits no clients."""
    private: bool = False
    """Whether clients must not be able to list the instance's shares, because several projects
    use it. For NFS this means that the instance does not serve NFS 3."""
    least_gib: int = 0
    """The size that the device has, or will have in a moment: an instance may learn late that its
    volume was extended."""


@dataclass(frozen=True, slots=True)
class WantedState:
    """The volume on which an instance keeps the state of its NFS server."""

    serial: str
    """The volume's id; the device is found by it."""
    fsid: str
    """The UUID of its file system, which is another one for each share server."""
    may_format: bool
    """Whether mkfs is allowed on a blank device."""
    hostname: str = ""
    """The instance's host name, by which clients know the server again. Empty leaves it."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """One freeze of a share's file system; only a thaw of this freeze ends it with success."""

    asker: str
    """The resource that needs the freeze, e.g. ``snapshot/<id>``."""
    takes_over: bool = False
    """Whether it ends the freeze of another asker, instead of being refused."""
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    """Distinguishes it from earlier freezes of the same asker."""


@dataclass(frozen=True, slots=True)
class AppliedShare:
    """The result of applying a share."""

    size_bytes: Amount
    used_bytes: Amount
    formatted: bool
    rejected_rules: dict[str, str] = field(default_factory=dict)
    """The server software's reasons for refusing rules, by ``rule.to``."""
    steps: Annotated[dict[Step, Seconds], Meta(max_length=50)] = field(default_factory=dict)
    """Duration of each step in the instance, in seconds, for logs and benchmarks."""


@dataclass(frozen=True, slots=True)
class ShareUsage:
    """Size of a share's file system in bytes, as shown by ``df``."""

    share_id: ShareId
    size_bytes: Amount
    used_bytes: Amount


@dataclass(frozen=True, slots=True)
class ServedShare:
    """The actual state of one share in the instance."""

    share_id: ShareId
    mounted: bool
    exported: bool
    fence: Amount
    rules_digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    """``digest(rules, squash)`` of the exports, compared instead of long lists of rules."""
    file_system_state: FileSystemState = FileSystemState.SOUND
    """Only of a mounted share. A damaged one stays exported as long as it can be read."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The clients that an instance admits to a share now."""

    known: bool
    """Whether the instance has ever served the share."""
    rules: Annotated[tuple[ExportRule, ...], Meta(max_length=100_000)] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the instance."""

    boot_id: Annotated[str, Meta(max_length=64)]
    nfs_running: bool
    smb_running: bool
    uptime_seconds: Seconds
    shares: Annotated[tuple[ServedShare, ...], Meta(max_length=20_000)] = ()


def digest(rules: Iterable[ExportRule], squash: Squash) -> str:
    """A digest of the exports, which is equal for the same rules in any order and spelling."""
    return agent_rules.digest((asdict(rule) for rule in rules), squash)


class Guest(Protocol):
    """A service instance's agent. Deadlines are in seconds.

    Every call raises ``GuestUnreachable`` if the instance does not answer in time, ``StaleFence``
    for an outdated operation, and ``GuestError`` if the agent failed.
    """

    def apply_share(self, wanted: WantedShare, *, fence: int, deadline: float = 60) -> AppliedShare:
        """Find the device, format it if allowed, mount it, grow it to the device's size, export it.

        Clients that remain allowed are never interrupted. Raises ``DeviceNotBlank`` if formatting
        would be necessary but is not safe.
        """

    def remove_share(self, share_id: str, path: str, *, fence: int, deadline: float = 60) -> None:
        """Unexport and unmount the share, and drop the state of its clients. It may be absent."""

    def freeze_share(self, share_id: str, path: str, freeze: Freeze, *, seconds: float) -> None:
        """Freeze the file system until it is thawed, the channel ends, or ``seconds`` are over.

        A share has one freeze at a time. An earlier freeze of the same asker ends, and its thaw
        will fail. ``GuestBusy`` is raised during another asker's freeze unless this takes over.
        """

    def thaw_share(self, share_id: str, path: str, freeze: Freeze) -> None:
        """End this freeze, and no other. Raises ``FreezeLost`` unless it lasted until now."""

    def keep_state(self, wanted: WantedState, *, deadline: float = 60) -> None:
        """Mount the volume on which the NFS server keeps what clients reclaim opens and locks by.

        The NFS server does not start without it. One that runs without it, or with another volume,
        is stopped, and the instance gets the wanted host name. Raises ``DeviceNotBlank`` if the
        volume holds something else.
        """

    def start_nfs(self, *, with_state: bool = True, deadline: float = 60) -> None:
        """Start the NFS server if it does not run. Its grace period begins then.

        With ``with_state=False`` it needs no volume for its state, now and at each boot.
        """

    def notify_clients(self, *, deadline: float = 30) -> None:
        """Have the clients of an instance that this one replaces come back at once.

        The instance must be reachable for them by now.
        """

    def usage(self, *, deadline: float = 10) -> tuple[ShareUsage, ...]:
        """Sizes of all shares, in one round trip."""

    def health(self, *, deadline: float = 10) -> Health:
        """What the instance actually serves, in one round trip."""

    def ping(self) -> bool:
        """Ask for a sign of life without waiting for it.

        Returns whether there was one since the last call; True if that was the first one.
        """

    def admitted(self, share_id: str, *, deadline: float = 10) -> Admitted:
        """The clients that may use the share, as the instance's own tables say."""

    def close(self) -> None:
        """Close the channel; the instance continues to serve."""
