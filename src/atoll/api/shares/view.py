"""A share as clients see it, at each microversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as of
from typing import Final

from atoll.api.frame.answers import OneOf
from atoll.api.frame.call import Call
from atoll.api.frame.paging import Link
from atoll.api.frame.views import View, constant, field, reported, shown_status
from atoll.capabilities import is_true
from atoll.model.records import Share
from atoll.model.states import RulesStatus, ShareStatus

Types = Mapping[str, tuple[str, Mapping[str, str]]]

_NO_TYPE: Final[tuple[str, Mapping[str, str]]] = ("", {})


@dataclass
class Scope:
    """What a share's view needs besides the row."""

    call: Call
    types: Types
    locations: Mapping[str, list[str]] = of(default_factory=dict)
    """Export paths by share; only filled for the versions that show them."""

    def __post_init__(self) -> None:
        self.spec_flags = {
            type_id: {name: is_true(specs.get(name)) for name in _FLAGS}
            for type_id, (_, specs) in self.types.items()
        }


_FLAGS: Final = ("snapshot_support", "create_share_from_snapshot_support")


def _links(row: Share, scope: Scope) -> list[Link]:
    return scope.call.links(f"shares/{row['id']}")


def _type_name(row: Share, scope: Scope) -> str:
    return scope.types.get(row["share_type_id"], _NO_TYPE)[0]


def _paths(row: Share, scope: Scope) -> list[str]:
    return scope.locations.get(row["id"], [])


def _path(row: Share, scope: Scope) -> str | None:
    paths = scope.locations.get(row["id"])
    return paths[0] if paths else None


def _snapshot_support(row: Share, scope: Scope) -> bool:
    flags = scope.spec_flags.get(row["share_type_id"])
    return flags is not None and flags["snapshot_support"]


def _clone_support(row: Share, scope: Scope) -> bool:
    flags = scope.spec_flags.get(row["share_type_id"])
    return flags is not None and flags["create_share_from_snapshot_support"]


_FROM_SNAPSHOT: Final = ShareStatus.CREATING_FROM_SNAPSHOT
_OLD_RULES_STATUS: Final = {RulesStatus.SYNCING: "out_of_sync"}


def _old_rules_status(row: Share, _: Scope) -> str:
    return _OLD_RULES_STATUS.get(row["access_rules_status"], row["access_rules_status"])


def _old_status(row: Share, _: Scope) -> str:
    status: str = row["status"].shown
    return ShareStatus.CREATING if status == _FROM_SNAPSHOT else status


SUMMARY = View(Share, field("id"), field("name"), field("links", _links), called="ShareSummary")

DETAIL = View(
    Share,
    field("id"),
    field("size"),
    field("availability_zone"),
    field("created_at"),
    field("status", _old_status, until="2.53", kind=ShareStatus),
    field("status", shown_status, since="2.54", kind=ShareStatus),
    field("name"),
    field("description"),
    field("project_id"),
    field("snapshot_id"),
    field("share_network_id"),
    field("share_proto"),
    field("metadata"),
    field("share_type", _type_name, until="2.5"),
    field("share_type", "share_type_id", since="2.6"),
    field("share_type_name", _type_name, since="2.6"),
    field("volume_type", _type_name),
    field("is_public"),
    field("links", _links),
    field("export_location", _path, until="2.8"),
    field("export_locations", _paths, until="2.8"),
    field("snapshot_support", _snapshot_support, since="2.2"),
    constant("source_cgsnapshot_member_id", None, since="2.4", until="2.30"),
    constant("consistency_group_id", None, since="2.4", until="2.30"),
    constant("task_state", None, since="2.5"),
    field(
        "access_rules_status",
        _old_rules_status,
        since="2.10",
        until="2.27",
        kind=OneOf((RulesStatus.ACTIVE, "out_of_sync", RulesStatus.ERROR)),
    ),
    field("access_rules_status", since="2.28"),
    reported("replication_type", since="2.11"),
    constant("has_replicas", False, since="2.11"),
    field("user_id", since="2.16"),
    field("create_share_from_snapshot_support", _clone_support, since="2.24"),
    reported("revert_to_snapshot_support", since="2.27"),
    constant("share_group_id", None, since="2.31"),
    constant("source_share_group_snapshot_member_id", None, since="2.31"),
    reported("mount_snapshot_support", since="2.32"),
    field("progress", since="2.54"),
    constant("is_soft_deleted", False, since="2.69"),
    constant("scheduled_to_be_deleted_at", None, since="2.69"),
    field("share_server_id", admin=True),
    field("host", admin=True),
)
LAST_WITH_LOCATIONS: Final = 8
"""The last microversion whose shares carry their export locations."""
