"""What is known of each resource: the columns of its row, with their types.

A record that was read whole has all of its keys. A record of changes has those that change, and a
caller outside Atoll (a stock Manila) hands over those that it knows: therefore no key is required
here. Sizes are GiB; ``*_at`` are UTC in ISO 8601 with microseconds and no zone; ids are UUIDs.
"""

from __future__ import annotations

from typing import Any, TypedDict

from .states import (
    FileSystemState,
    NetworkStatus,
    OperationStatus,
    RulesStatus,
    RuleState,
    ServerStatus,
    ShareStatus,
    SnapshotStatus,
)

Metadata = dict[str, str]


class Record(TypedDict, total=False):
    """What all records have."""

    id: str
    created_at: str


class Texts(TypedDict, total=False):
    """What users call a resource."""

    name: str | None
    description: str | None


class Owned(Record, Texts, total=False):
    """What belongs to a project."""

    project_id: str
    user_id: str | None
    updated_at: str | None


class AccessRule(Record, total=False):
    """Who may mount a share."""

    share_id: str
    access_type: str
    access_to: str
    access_level: str
    access_key: str | None
    state: RuleState
    held: bool
    """Whether it came with a restored backup, and the restore is not released yet."""
    metadata: Metadata
    updated_at: str | None


class Share(Owned, total=False):
    """A share. ``wanted_size`` is set while it grows; ``options`` are resolved at creation."""

    size: int
    wanted_size: int | None
    share_proto: str
    status: ShareStatus
    access_rules_status: RulesStatus
    progress: str | None
    share_type_id: str
    share_network_id: str | None
    share_server_id: str | None
    snapshot_id: str | None
    availability_zone: str | None
    host: str | None
    is_public: bool
    metadata: Metadata
    options: dict[str, Any]
    used_bytes: int | None

    # Not columns: what a worker hands to the driver with the share.
    access_rules: list[AccessRule]
    """The whole set that should be served. Without this key, exports stay as they are."""
    share_server: ShareServer | None
    file_system_state: FileSystemState
    """Only in a reconcile pass: what the pass before has found."""


class Snapshot(Owned, total=False):
    """A snapshot of a share."""

    share_id: str
    share_size: int
    size: int
    share_proto: str
    status: SnapshotStatus
    progress: str | None
    provider_location: str | None
    metadata: Metadata

    # Not a column: the driver is given the snapshot's share with it.
    share: Share


class Subnet(Record, total=False):
    """A subnet of a share network. A ``managed`` one has a network that Atoll makes and removes."""

    share_network_id: str
    availability_zone: str | None
    neutron_net_id: str | None
    neutron_subnet_id: str | None
    network_type: str | None
    segmentation_id: int | None
    cidr: str | None
    ip_version: int | None
    gateway: str | None
    mtu: int | None
    managed: bool
    deleting: bool
    metadata: Metadata
    updated_at: str | None


class ShareNetwork(Owned, total=False):
    """Where a project's share servers are reached."""

    status: NetworkStatus

    # Not a column.
    subnets: list[Subnet]


class ShareServer(Record, total=False):
    """A service instance. ``backend_details`` is what the driver returned; it holds no secret."""

    project_id: str | None
    host: str
    share_network_subnet_id: str | None
    status: ServerStatus
    identifier: str | None
    is_auto_deletable: bool
    backend_details: dict[str, Any]
    idle_since: float | None
    """Since when it has had no share (epoch seconds)."""
    unhealthy_since: float | None
    """Since when it has not answered (epoch seconds)."""
    renewal_wanted: bool
    cure_confirmed: bool
    unfenced_instance: str | None
    """The instance that has to be replaced, but may still run."""
    stands_in_for: str | None
    """Id of the server that uses this one's instance instead of its own, which was lost."""
    updated_at: str | None

    # Not columns: of the network that it is in, and of what is on it.
    share_network_id: str | None
    share_network_name: str | None
    share_count: int


class Project(Record, total=False):
    """A project, where Atoll keeps them itself."""

    name: str
    description: str | None


class Token(TypedDict, total=False):
    """A bearer token as an administrator sees it: of the token itself only the hash is known."""

    hash: str
    name: str
    project_id: str
    user_id: str
    roles: list[str]
    held: bool
    """Whether it came with a restored backup and is refused, because that is not released yet."""
    created_at: str
    expires_at: str | None

    # Not a column: the project's name, or its id where Atoll doesn't know the project.
    project: str


class ShareType(Record, total=False):
    """A kind of share that users can choose."""

    name: str
    description: str | None
    is_public: bool
    extra_specs: dict[str, str]
    updated_at: str | None


class ExportLocation(Record, total=False):
    """A path that clients mount."""

    share_id: str
    path: str
    preferred: bool
    is_admin_only: bool
    updated_at: str | None


class Message(Record, total=False):
    """What a user is told of a resource."""

    project_id: str
    request_id: str | None
    resource_type: str
    resource_id: str | None
    action_id: str
    detail_id: str
    message_level: str
    user_message: str
    expires_at: str


class Service(TypedDict, total=False):
    """A process, with the pools that it sees."""

    id: int
    binary: str
    host: str
    zone: str
    disabled: bool
    disabled_reason: str | None
    pools: list[dict[str, Any]]
    heartbeat: float
    created_at: str
    updated_at: str | None

    # Not a column: ``up`` or ``down``, by the age of the heartbeat.
    state: str


class Zone(TypedDict):
    """An availability zone, with the times of its first and its newest service."""

    name: str
    created_at: str | None
    updated_at: str | None


class OperationRecord(Record, total=False):
    """Work on a resource, as an operator sees it."""

    resource: str
    lane: str
    status: OperationStatus
    again: bool
    attempts: int
    fence: int
    owner: str | None
    lease_until: float | None
    not_before: float
    waits_for: str | None
    request_id: str | None
    error: str | None
    finished_at: str | None
