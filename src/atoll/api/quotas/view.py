"""How limits and usage look at each microversion. Quotas of things that Atoll lacks are 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypedDict

from atoll.api.frame.answers import Both, Either, Kind
from atoll.api.frame.views import Field, Row, View, field
from atoll.db.quotas import DEFAULTS


def _absent(name: str, since: str) -> Field:
    """A resource that Atoll does not have: none of it is allowed, in numbers or in detail."""
    return field(name, lambda row, zero: zero, since=since)


_BY_TYPE: Final = (
    field("shares"),
    field("gigabytes"),
    field("snapshots"),
    field("snapshot_gigabytes"),
    _absent("share_replicas", "2.53"),
    _absent("replica_gigabytes", "2.53"),
    field("per_share_gigabytes", since="2.62"),
)
OF_SHARE_TYPE: Final = View(DEFAULTS, *_BY_TYPE, values=int)
"""A project's quotas for one share type."""

_BY_PROJECT: Final = (
    *_BY_TYPE,
    field("share_networks"),
    _absent("share_groups", "2.40"),
    _absent("share_group_snapshots", "2.40"),
)
OF_PROJECT: Final = View(DEFAULTS, *_BY_PROJECT, values=int)
"""A project's or a user's quotas. The scope of the view is what stands for an absent resource."""

SHARE_TYPES_SINCE: Final = "2.39"
PER_SHARE_SINCE: Final = "2.62"


class Detail(TypedDict):
    """A limit with what is in use of it."""

    limit: int
    in_use: int
    reserved: int


def detail(limits: Mapping[str, int], used: Mapping[str, int]) -> dict[str, Any]:
    """Limits together with what is in use."""
    return {
        name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0}
        for name, limit in limits.items()
    }


def _limit(name: str) -> Callable[[Row, Any], Any]:
    return lambda row, used: row[name]


def _used(name: str) -> Callable[[Row, Any], Any]:
    return lambda row, used: used[name]


def _none(row: Row, used: Any) -> int:
    return 0


ABSOLUTE: Final = View(
    DEFAULTS,
    field("maxTotalShares", _limit("shares")),
    field("maxTotalShareGigabytes", _limit("gigabytes")),
    field("maxTotalShareSnapshots", _limit("snapshots")),
    field("maxTotalSnapshotGigabytes", _limit("snapshot_gigabytes")),
    field("maxTotalShareNetworks", _limit("share_networks")),
    field("totalSharesUsed", _used("shares")),
    field("totalShareGigabytesUsed", _used("gigabytes")),
    field("totalShareSnapshotsUsed", _used("snapshots")),
    field("totalSnapshotGigabytesUsed", _used("snapshot_gigabytes")),
    field("totalShareNetworksUsed", _used("share_networks")),
    field("maxTotalShareGroups", _none, since="2.58"),
    field("maxTotalShareGroupSnapshots", _none, since="2.58"),
    field("totalShareGroupsUsed", _none, since="2.58"),
    field("totalShareGroupSnapshotsUsed", _none, since="2.58"),
    field("maxTotalShareReplicas", _none, since="2.53"),
    field("maxTotalReplicaGigabytes", _none, since="2.53"),
    field("totalShareReplicasUsed", _none, since="2.53"),
    field("totalReplicaGigabytesUsed", _none, since="2.53"),
    values=int,
)
"""``limits``: its row are the limits, its scope is the usage."""

_ID: Final[Kind] = {"id": str}
UPDATED: Final[Kind] = {"quota_set": Either(OF_PROJECT, OF_SHARE_TYPE)}
SHOWN: Final[Kind] = {"quota_set": Either(Both(_ID, OF_PROJECT), Both(_ID, OF_SHARE_TYPE))}
DETAILED: Final[Kind] = {
    "quota_set": Either(
        Both(_ID, View(DEFAULTS, *_BY_PROJECT, values=Detail)),
        Both(_ID, View(DEFAULTS, *_BY_TYPE, values=Detail)),
    )
}
CLASS_UPDATED: Final[Kind] = {"quota_class_set": OF_PROJECT}
CLASS_SHOWN: Final[Kind] = {"quota_class_set": Both(_ID, OF_PROJECT)}
"""What the document says of the answers."""
