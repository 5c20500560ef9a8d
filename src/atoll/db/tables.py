"""The database schema.

Conventions: ids are UUID strings; ``*_at`` columns are UTC in ISO 8601 with microseconds and no
zone (they sort as text, and clients see them unchanged); columns of leases and heartbeats are
seconds since the epoch by the database's clock; sizes are GiB. The row of a deleted resource does
not exist any more. ``removals`` records that it was removed, and ``operations`` and ``messages``
record what happened to it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

from atoll.model.states import (
    NetworkStatus,
    RulesStatus,
    RuleState,
    ServerStatus,
    ShareStatus,
    SnapshotStatus,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ID = String(36)
TIME = String(26)


class State(TypeDecorator[StrEnum]):
    """A column of states: text in the database, members of ``states`` in Python."""

    impl = String
    cache_ok = True

    def __init__(self, states: type[StrEnum], length: int) -> None:
        super().__init__(length)
        self.states = states
        self._members: dict[str | None, StrEnum | None] = {None: None}
        self._members |= {state.value: state for state in states}

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text of a state."""
        return None if value is None else str(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """The state of a text. It raises ``KeyError`` if another program has written the text."""
        return self._members.__getitem__


def _created() -> Column[str]:
    return Column("created_at", TIME, nullable=False)


def _updated() -> Column[str]:
    return Column("updated_at", TIME)


deployment = Table(
    "deployment",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""Facts about the whole deployment, such as its id, which tags all that it makes."""

projects = Table(
    "projects",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("description", String(255)),
    _created(),
)
"""Only used with token authentication; Keystone has its own projects."""

tokens = Table(
    "tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("roles", JSON, nullable=False),
    # A held token was in a backup, and is refused until the restore is released.
    Column("held", Boolean, nullable=False, server_default=false()),
    _created(),
    Column("expires_at", TIME),
)

share_types = Table(
    "share_types",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("description", String(255)),
    Column("is_public", Boolean, nullable=False),
    Column("extra_specs", JSON, nullable=False),
    _created(),
    _updated(),
)

share_type_access = Table(
    "share_type_access",
    metadata,
    Column("share_type_id", ID, ForeignKey("share_types.id"), primary_key=True),
    Column("project_id", String(64), primary_key=True),
)

share_networks = Table(
    "share_networks",
    metadata,
    Column("id", ID, primary_key=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("user_id", String(64)),
    Column("name", String(255)),
    Column("description", String(255)),
    Column("status", State(NetworkStatus, 32), nullable=False),
    _created(),
    _updated(),
)
"""``status``: active, error, network_change; ``deleting`` rows are hidden from the API."""

share_network_subnets = Table(
    "share_network_subnets",
    metadata,
    Column("id", ID, primary_key=True),
    Column("share_network_id", ID, ForeignKey("share_networks.id"), nullable=False, index=True),
    Column("availability_zone", String(255)),
    Column("neutron_net_id", String(64)),
    Column("neutron_subnet_id", String(64)),
    Column("network_type", String(32)),
    Column("segmentation_id", Integer),
    Column("cidr", String(64)),
    Column("ip_version", Integer),
    Column("gateway", String(64)),
    Column("mtu", Integer),
    Column("managed", Boolean, nullable=False),
    Column("deleting", Boolean, nullable=False, server_default=text("false")),
    Column("metadata", JSON, nullable=False),
    _created(),
    _updated(),
)
"""``managed``: the network was requested without an id, so Atoll makes and removes it."""

share_servers = Table(
    "share_servers",
    metadata,
    Column("id", ID, primary_key=True),
    Column("project_id", String(64), index=True),
    Column("host", String(255), nullable=False),
    Column("share_network_subnet_id", ID, ForeignKey("share_network_subnets.id"), index=True),
    Column("status", State(ServerStatus, 32), nullable=False),
    Column("identifier", String(255)),
    Column("is_auto_deletable", Boolean, nullable=False),
    Column("backend_details", JSON, nullable=False),
    Column("idle_since", Double),
    Column("unhealthy_since", Double),
    # An operator has requested that a new instance with the newest image replace the present one.
    Column("renewal_wanted", Boolean, nullable=False, server_default=false()),
    # An operator has confirmed that its instance is at fault, although others are silent, too.
    Column("cure_confirmed", Boolean, nullable=False, server_default=false()),
    # The instance that has to be replaced, but may still run: an operator has to look.
    Column("unfenced_instance", String(255)),
    # The server that uses this one's instance, which was warm, instead of its own lost one.
    Column("stands_in_for", ID, index=True),
    _created(),
    _updated(),
)
"""Each server is one service instance. ``backend_details`` never holds a secret."""

shares = Table(
    "shares",
    metadata,
    Column("id", ID, primary_key=True),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64)),
    Column("name", String(255)),
    Column("description", String(255)),
    Column("size", Integer, nullable=False),
    Column("wanted_size", Integer),
    Column("share_proto", String(16), nullable=False),
    Column("status", State(ShareStatus, 64), nullable=False),
    Column("access_rules_status", State(RulesStatus, 16), nullable=False),
    Column("progress", String(8)),
    Column("share_type_id", ID, ForeignKey("share_types.id"), nullable=False),
    Column("share_network_id", ID, ForeignKey("share_networks.id")),
    Column("share_server_id", ID, ForeignKey("share_servers.id"), index=True),
    Column("snapshot_id", ID),
    Column("availability_zone", String(255)),
    Column("host", String(255)),
    Column("is_public", Boolean, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("options", JSON, nullable=False),
    Column("used_bytes", BigInteger),
    _created(),
    _updated(),
    Index("ix_shares_project_created", "project_id", "created_at"),
)
"""``wanted_size`` is set while extending; ``options`` (squash, …) are resolved at creation."""

export_locations = Table(
    "export_locations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("share_id", ID, ForeignKey("shares.id"), nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("preferred", Boolean, nullable=False),
    Column("is_admin_only", Boolean, nullable=False),
    _created(),
    _updated(),
)

access_rules = Table(
    "access_rules",
    metadata,
    Column("id", ID, primary_key=True),
    Column("share_id", ID, ForeignKey("shares.id"), nullable=False),
    Column("access_type", String(16), nullable=False),
    Column("access_to", String(255), nullable=False),
    Column("access_level", String(8), nullable=False),
    Column("access_key", String(255)),
    Column("state", State(RuleState, 32), nullable=False),
    # A held rule was in a backup, and admits nobody anew until the restore is released.
    Column("held", Boolean, nullable=False, server_default=false()),
    Column("metadata", JSON, nullable=False),
    _created(),
    _updated(),
    UniqueConstraint("share_id", "access_type", "access_to"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", ID, primary_key=True),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64)),
    Column("share_id", ID, ForeignKey("shares.id"), nullable=False, index=True),
    Column("share_size", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("share_proto", String(16), nullable=False),
    Column("name", String(255)),
    Column("description", String(255)),
    Column("status", State(SnapshotStatus, 32), nullable=False),
    Column("progress", String(8)),
    Column("provider_location", String(255)),
    Column("metadata", JSON, nullable=False),
    _created(),
    _updated(),
    Index("ix_snapshots_project_created", "project_id", "created_at"),
)

driver_private_data = Table(
    "driver_private_data",
    metadata,
    Column("resource", String(64), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
    Column("encrypted", Boolean, nullable=False),
)
"""The driver's private data about a resource (``share/<id>``), stored before it is used."""

quotas = Table(
    "quotas",
    metadata,
    Column("project_id", String(64), primary_key=True),
    Column("user_id", String(64), primary_key=True),
    Column("share_type_id", String(36), primary_key=True),
    Column("resource", String(64), primary_key=True),
    Column("hard_limit", Integer, nullable=False),
)
"""``user_id`` and ``share_type_id`` are empty if the limit applies to the whole project."""

quota_classes = Table(
    "quota_classes",
    metadata,
    Column("class_name", String(255), primary_key=True),
    Column("resource", String(64), primary_key=True),
    Column("hard_limit", Integer, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", ID, primary_key=True),
    Column("project_id", String(64), nullable=False),
    Column("request_id", String(64)),
    Column("resource_type", String(32), nullable=False),
    Column("resource_id", ID),
    Column("action_id", String(8), nullable=False),
    Column("detail_id", String(8), nullable=False),
    Column("message_level", String(16), nullable=False),
    Column("user_message", Text, nullable=False),
    _created(),
    Column("expires_at", TIME, nullable=False),
    Index("ix_messages_project_created", "project_id", "created_at"),
)

services = Table(
    "services",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("binary", String(64), nullable=False),
    Column("host", String(255), nullable=False),
    Column("zone", String(255), nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("disabled_reason", String(255)),
    Column("pools", JSON, nullable=False),
    Column("heartbeat", Double, nullable=False),
    _created(),
    _updated(),
    UniqueConstraint("binary", "host"),
)
"""Heartbeats of services, and the pools (capacity, capabilities) that a worker sees."""

operations = Table(
    "operations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("resource", String(64), nullable=False),
    Column("lane", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("again", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("owner", String(255)),
    Column("lease_until", Double),
    Column("not_before", Double, nullable=False),
    Column("waits_for", String(64), index=True),
    Column("request_id", String(64)),
    Column("error", Text),
    _created(),
    Column("finished_at", TIME),
    # Both are partial: WHERE status IN ('queued', 'running'). That is only in the migrations,
    # because each process would import both dialects to check the argument postgresql_where.
    Index("uq_operations_active", "resource", unique=True),
    Index("ix_operations_claim", "not_before"),
)
"""Long-running work. An operation has no verb: the resource's row says what is wanted (0002)."""

fences = Table("fences", metadata, Column("last", BigInteger, primary_key=True))
"""One row with the latest fence; fences always grow, across all operations."""

removals = Table(
    "removals",
    metadata,
    Column("resource", String(64), primary_key=True),
    Column("removed_at", TIME, nullable=False, index=True),
)
"""Resources that a handler has removed, recorded in the transaction that deletes the row."""
