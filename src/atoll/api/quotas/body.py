"""The limits that a request sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from atoll.api.frame import bodies
from atoll.api.frame.versions import minor
from atoll.api.quotas.view import PER_SHARE_SINCE
from atoll.capabilities import yes_or_no
from atoll.db.quotas import DEFAULTS, UNLIMITED
from atoll.errors import Invalid
from atoll.model import features

Limit = Annotated[int, msgspec.Meta(ge=UNLIMITED, le=bodies.LARGEST)] | None
Absent = Annotated[int, msgspec.Meta(ge=0, le=0), bodies.Refused] | None
_SPOKEN_OF = ("force", "id", "tenant_id", "project_id", "user_id", "share_type", "class_name")
_ABSENT = {
    "share_groups": features.QUOTAS_OF_GROUPS,
    "share_group_snapshots": features.QUOTAS_OF_GROUPS,
    "share_replicas": features.QUOTAS_OF_REPLICAS,
    "replica_gigabytes": features.QUOTAS_OF_REPLICAS,
}


class Wanted(msgspec.Struct):
    """The keys of a quota set that count; -1 is no limit."""

    shares: Limit = None
    gigabytes: Limit = None
    snapshots: Limit = None
    snapshot_gigabytes: Limit = None
    share_networks: Limit = None
    per_share_gigabytes: Annotated[Limit, bodies.since(PER_SHARE_SINCE)] = None
    share_groups: Absent = None
    share_group_snapshots: Absent = None
    share_replicas: Absent = None
    replica_gigabytes: Absent = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Limit by resource, and whether it may be below what is in use."""

    limits: Mapping[str, int]
    force: bool = False
    is_empty: bool = False
    """Whether no limit was named at all."""

    @classmethod
    def of(cls, body: Mapping[str, Any], version: int, *, ignores_unknown: bool = False) -> Limits:
        """From a quota set, or a quota class set. Raises ``Invalid``."""
        limits = {}
        is_empty = True
        for name, value in body.items():
            if name in _SPOKEN_OF or value is None:
                continue
            if name not in DEFAULTS and name not in _ABSENT:
                if ignores_unknown:
                    continue
                raise Invalid(f"There is no quota {name[:64]!r}; there are {', '.join(DEFAULTS)}.")
            is_empty = False
            if value == "":
                continue  # Manila takes the limit for one that was named, and sets nothing
            if name in _ABSENT:
                _check_absent(name, value)
            else:
                limits[name] = _limit(name, value)
        if "per_share_gigabytes" in limits and version < minor(PER_SHARE_SINCE):
            raise Invalid(f"per_share_gigabytes needs API version {PER_SHARE_SINCE} or later.")
        # Manila does not refuse other words here, as it does elsewhere.
        force = yes_or_no(str(body.get("force"))) is True
        return cls(limits, force, is_empty)


def _check_absent(name: str, value: Any) -> None:
    """Quotas of resources that Atoll does not have are shown as 0, and can only be set to 0."""
    if _limit(name, value) != 0:
        _ABSENT[name].check(quota=name)


def _limit(name: str, value: Any) -> int:
    limit = bodies.convert(value, int, name) if not isinstance(value, bool | float) else None
    if limit is None or not UNLIMITED <= limit <= bodies.LARGEST:
        raise Invalid(
            f"The quota {name} must be an integer from -1 (no limit) to {bodies.LARGEST}."
        )
    return limit
