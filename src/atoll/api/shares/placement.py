"""Zones and hints of a new share, checked and stored when it is requested.

The worker places the share by them later (``lifecycle/scheduler.py``).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from sqlalchemy import Connection

from atoll.api.frame import bodies
from atoll.api.frame.call import Call
from atoll.api.types import extra_specs
from atoll.db import placement, services, share_networks, shares
from atoll.errors import Forbidden, Invalid, NotFound
from atoll.model.records import Share, ShareType

_SINCE_ZONE_SPEC: Final = 48

Hint = str | list[str] | None


class Hints(msgspec.Struct):
    """Shares whose host to share or to avoid, and the host to use (administrators)."""

    same_host: Hint = None
    different_host: Hint = None
    only_host: Annotated[bodies.Name | None, bodies.since("2.67")] = None


class KeptHints(msgspec.Struct):
    """Hints as they are stored with the share, for the worker that places it."""

    metadata: dict[str, str]
    only_host: str


def options(hints: KeptHints, zones: object) -> dict[str, object]:
    """What the share's row keeps for its placement, besides the metadata."""
    return {
        **({"only_host": hints.only_host} if hints.only_host else {}),
        **({"zones": zones} if zones else {}),
    }


def hints(call: Call, connection: Connection, given: Hints | None) -> KeptHints:
    """The hints of a new share, checked.

    Raises ``NotFound`` for a share that does not exist, and ``Forbidden`` if a member names a host.
    As in Manila, an unknown host is detected only when the share is placed.
    """
    if given is None:
        return KeptHints({}, "")
    metadata: dict[str, str] = {}
    for key, hint in (
        (placement.SAME_HOST, given.same_host),
        (placement.DIFFERENT_HOST, given.different_host),
    ):
        named = hint.split(",") if isinstance(hint, str) else hint or []
        ids = list(dict.fromkeys(each.strip() for each in named if each.strip()))
        for share_id in ids:
            call.visible(shares.get(connection, share_id), "Share", share_id)
        if ids:
            metadata[key] = ",".join(ids)
    if given.only_host and not call.is_admin:
        raise Forbidden("Only administrators may choose the host.")
    return KeptHints(metadata, given.only_host or "")


def zone(
    call: Call,
    connection: Connection,
    asked: str | None,
    share_type: ShareType,
    network_id: str | None,
    parent: Share | None,
) -> tuple[str | None, list[str]]:
    """The zone of a new share, if it is decided already, and the zones that it may be in.

    ``parent`` is the share whose snapshot it is made from. An empty collection means all zones. If
    the zone is not decided, the share gets that of the host that it is placed on. Raises
    ``NotFound`` or ``Invalid``.
    """
    known = [each["name"] for each in services.zones(connection)]
    wanted = asked
    if wanted and wanted not in known:
        raise NotFound(f"Availability zone {wanted} could not be found.")
    parents = parent["availability_zone"] if parent is not None else None
    if parents not in known:
        parents = None
    if wanted and parents and wanted != parents:
        raise Invalid(
            "The specified availability zone must be the same as parent share when creating from "
            "snapshot."
        )
    wanted = wanted or parents
    allowed: set[str] = set()
    if call.version >= _SINCE_ZONE_SPEC:
        allowed = extra_specs.zones(share_type["extra_specs"].get("availability_zones"))
    if wanted and allowed and wanted not in allowed:
        raise Invalid(
            f"Share type {share_type['name']} is not supported within the availability zone "
            f"chosen {wanted}."
        )
    if network_id is not None:
        allowed = _with_subnet(connection, network_id, wanted, allowed)
    default = call.settings.driver.storage_availability_zone
    if not wanted and default in known and (not allowed or default in allowed):
        wanted = default
    return wanted, sorted(allowed)


def _with_subnet(
    connection: Connection, network_id: str, wanted: str | None, allowed: set[str]
) -> set[str]:
    """The allowed zones that the share network has a subnet for. Raises ``Invalid``."""
    subnets = share_networks.require(connection, network_id)["subnets"]
    if not subnets:
        raise Invalid(f"Share network {network_id} has no subnet.")
    zones = {zone for subnet in subnets if (zone := subnet["availability_zone"]) is not None}
    if len(zones) < len(subnets):  # one is for all zones
        return allowed
    if wanted and wanted not in zones:
        raise Invalid("A share network subnet was not found for the requested availability zone.")
    if allowed and allowed.isdisjoint(zones):
        raise Invalid(
            "The share network is not supported within any requested availability zone. Check the "
            "share type's 'availability_zones' extra-spec and the availability zones of the share "
            "network subnets."
        )
    return allowed & zones if allowed else zones
