"""Extra specs of share types: which are known, what they may be, and which a project may see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from atoll import capabilities
from atoll.errors import Invalid
from atoll.model import features

REQUIRED = ("driver_handles_share_servers",)
OPTIONAL = (
    "snapshot_support",
    "create_share_from_snapshot_support",
    "revert_to_snapshot_support",
    "mount_snapshot_support",
)
"""Boolean specs that are False when a share type leaves them out."""
BOOLEAN = (*REQUIRED, *OPTIONAL)
SIZES = (
    "provisioning:min_share_size",
    "provisioning:max_share_size",
    "provisioning:max_share_extend_size",
)
VISIBLE = (
    *BOOLEAN,
    *SIZES,
    "replication_type",
    "availability_zones",
    "provisioning:mount_point_prefix",
)
"""What every project may see of a share type; the rest is the administrator's business."""

_KEY = re.compile(r"[\w.:-]{1,255}")
_LONGEST = 255
LARGEST_COUNT = 128
"""The most extra specs that a share type can have."""


def checked(specs: Mapping[Any, Any], *, complete: bool) -> dict[str, str]:
    """Specs as they are stored: text by key. ``complete``: also those that a type needs are there.

    Raises ``Invalid`` that names the first spec that can't be.
    """
    if complete:
        for key in REQUIRED:
            if key not in specs:
                raise Invalid(
                    f"A share type needs the extra spec {key}.",
                    hint="Set it to true: shares get share servers of their own.",
                )
    check_count({}, specs)
    return {_checked_key(key): _checked_value(key, value) for key, value in specs.items()}


def check_count(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> None:
    """Raise ``Invalid`` if there would be too many. Too large a number of them may shrink."""
    if len(new) > max(LARGEST_COUNT, len(old)):
        raise Invalid(f"A share type can have at most {LARGEST_COUNT} extra specs.")


def _checked_key(key: Any) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise Invalid(
            f"Invalid extra spec name {str(key)[:64]!r}: letters, digits, underscores, periods, "
            "colons and hyphens, at most 255 of them."
        )
    return key


def _checked_value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or "\0" in value:
        raise Invalid(f"Invalid extra spec {key}: it must be text of 1 to 255 characters.")
    if key in BOOLEAN and capabilities.truth(value) is None:
        raise Invalid(f"Invalid extra spec {key}: {value!r} is neither true nor false.")
    if key in SIZES and not (value.isascii() and value.isdigit() and int(value) > 0):
        raise Invalid(f"Invalid extra spec {key}: {value!r} is not a positive number of GiB.")
    if key == "replication_type":
        features.REPLICATED_TYPES.check()
    if key == "availability_zones":
        names = [zone.strip() for zone in value.split(",")]
        if not all(names):
            raise Invalid(f"Invalid extra spec {key}: {value!r} is no list of zones (a,b,…).")
        return ",".join(names)
    return value


def required(specs: Mapping[str, str]) -> dict[str, str]:
    """Those of the specs that every type must have."""
    return {key: specs[key] for key in REQUIRED if key in specs}


def visible(specs: Mapping[str, str]) -> dict[str, str]:
    """Those of the specs that any project may see."""
    return {key: value for key, value in specs.items() if key in VISIBLE}


def inferred(specs: Mapping[str, Any]) -> dict[str, Any]:
    """The specs, and in addition those that are False because the type leaves them out."""
    return {**dict.fromkeys(OPTIONAL, False), **specs}


def match(specs: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a type with these specs passes a filter.

    Booleans may be spelled in any way, and are False where the type leaves them out. A type
    without ``availability_zones`` is for all zones, another for those that it names.
    """
    known = inferred(specs)
    for key, value in wanted.items():
        if key == "availability_zones":
            allowed = specs.get(key)
            if allowed and not zones(value) <= zones(allowed):
                return False
        elif key not in known or not capabilities.same(known[key], value):
            return False
    return True


def zones(spec: str | None) -> set[str]:
    """Names of the zones in an ``availability_zones`` spec."""
    return {zone.strip() for zone in (spec or "").split(",") if zone.strip()}
