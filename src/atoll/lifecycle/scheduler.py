"""Which pool a new share goes to: Manila's filters, one after the other.

Each filter lets some pools pass; the user's message names the filter that leaves none. The filters
are applied when the share is placed, and again at each later try, so the demands of a share type or
a hint always hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from atoll import capabilities
from atoll.db import placement, services, subnets
from atoll.db.messages import Detail
from atoll.errors import CloudUnavailable, NoValidHost
from atoll.lifecycle.backend import Backend
from atoll.model.records import Share

VISIBLE = ("driver_handles_share_servers", "replication_type")
"""Extra specs that a message may name; so it may those that end in ``_support``."""

DETAILS: Mapping[str, Detail] = {
    "AvailabilityZone": Detail.FILTER_AVAILABILITY,
    "Capabilities": Detail.FILTER_CAPABILITIES,
}
"""Manila's detail ids of filters; for others the detail is ``NO_VALID_HOST``."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A place for shares: ``name`` is ``<controller>@<cloud>#<pool>``."""

    name: str
    zone: str
    capabilities: Mapping[str, Any]
    disabled: bool = False

    @property
    def host(self) -> str:
        """The back end that the pool belongs to."""
        return self.name.partition("#")[0]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a share demands of its pool."""

    share: Share
    extra_specs: Mapping[str, str]
    near: frozenset[str] = frozenset()
    """Pools of the shares that it must be with."""
    away_from: frozenset[str] = frozenset()
    """Pools of the shares that it must not be with."""
    subnet_zones: frozenset[str | None] | None = None
    """Zones of its share network's subnets, None among them for all zones; None: no network."""

    @property
    def only_host(self) -> str:
        """The host that an administrator has chosen, else empty."""
        return str(self.share["options"].get("only_host") or "")


def wish(connection: Connection, share: Share) -> Wish:
    """What this share demands, as the rows say now."""
    network_id = share["share_network_id"]
    known = subnets.of_network(connection, network_id) if network_id else []
    zones = frozenset(each["availability_zone"] for each in known if not each["deleting"])
    near, away = placement.hosts_of_hints(connection, share)
    return Wish(
        share=share,
        extra_specs=placement.extra_specs(connection, share["share_type_id"]),
        near=frozenset(near),
        away_from=frozenset(away),
        subnet_zones=zones if network_id else None,
    )


def pools(connection: Connection, backend: Backend) -> list[Pool]:
    """The pools that a share may go to: this worker's, then those of others that are up.

    This worker's are as it sees them itself: it may not have reported them yet. Raises
    ``CloudUnavailable`` when the cloud shows none at all.
    """
    settings = backend.settings
    found = [
        Pool(
            name=pool["name"],
            zone=settings.driver.storage_availability_zone,
            capabilities=pool["capabilities"],
            disabled=placement.is_disabled(connection, settings.backend_host),
        )
        for pool in backend.pools()
    ]
    for service in services.every(connection, backend.database.now(connection)):
        if service["host"] != settings.backend_host and service["state"] == "up":
            found += [
                Pool(pool["name"], service["zone"], pool["capabilities"], service["disabled"])
                for pool in service["pools"]
            ]
    if not found:
        raise CloudUnavailable("The cloud has no pool for volumes at the moment.")
    return found


def choose(wish: Wish, pools: Sequence[Pool]) -> Pool:
    """The pool for a share: of the first back end that will do, the one with the most room.

    Raises ``NoValidHost``, which says which filter left none.
    """
    filters: tuple[tuple[str, Callable[[Wish, Pool], bool], Callable[[], str]], ...] = (
        ("Enabled", _is_enabled, lambda: "The administrator has disabled all back ends."),
        ("AvailabilityZone", _is_in_zone, lambda: _of_zone(wish)),
        ("Capabilities", _is_capable, lambda: _of_capabilities(wish, pools)),
        (
            "Affinity",
            _is_near,
            lambda: "The hosts of the shares to be with (same_host) can't take it.",
        ),
        (
            "AntiAffinity",
            _is_away,
            lambda: "The shares to keep away from (different_host) are on every host.",
        ),
        ("OnlyHost", _is_only_host, lambda: f"There is no host {wish.only_host} to take it."),
    )
    left = list(pools)
    for name, passes, reason in filters:
        left = [pool for pool in left if passes(wish, pool)]
        if not left:
            raise no_valid_host(reason(), name)
    return max((pool for pool in left if pool.host == left[0].host), key=_room)


def no_valid_host(reason: str, failed: str) -> NoValidHost:
    """The error that tells the user for what ``reason`` the filter ``failed`` let no pool pass."""
    what_to_do = "Try another share type, availability zone or hint, or ask the administrator."
    return NoValidHost(public=f"No valid host was found. {reason} {what_to_do}", failed=failed)


def _room(pool: Pool) -> float:
    free = pool.capabilities.get("free_capacity_gb")
    return float(free) if isinstance(free, int | float) else 0.0


def _is_enabled(wish: Wish, pool: Pool) -> bool:
    """An administrator who names a host means it, also while it takes no other shares."""
    return not pool.disabled or bool(wish.only_host)


def _is_in_zone(wish: Wish, pool: Pool) -> bool:
    wanted, allowed = wish.share["availability_zone"], wish.share["options"].get("zones")
    if wanted and pool.zone != wanted:
        return False
    if allowed and pool.zone not in allowed:
        return False
    return wish.subnet_zones is None or not wish.subnet_zones.isdisjoint((pool.zone, None))


def _is_capable(wish: Wish, pool: Pool) -> bool:
    return not capabilities.unmet(pool.capabilities, wish.extra_specs)


def _is_near(wish: Wish, pool: Pool) -> bool:
    return not wish.near or pool.name in wish.near


def _is_away(wish: Wish, pool: Pool) -> bool:
    return pool.name not in wish.away_from


def _is_only_host(wish: Wish, pool: Pool) -> bool:
    return wish.only_host in ("", pool.name, pool.host)


def _of_zone(wish: Wish) -> str:
    zone = wish.share["availability_zone"] or ", ".join(wish.share["options"].get("zones") or ())
    return (
        f"No back end is in the availability zone {zone}, with a subnet there."
        if zone
        else ("No back end is in an availability zone of the share network's subnets.")
    )


def _of_capabilities(wish: Wish, pools: Sequence[Pool]) -> str:
    """Names what is missing, but not the extra specs that are the administrator's business."""
    unmet = {
        key.removeprefix("capabilities:")
        for pool in pools
        for key in capabilities.unmet(pool.capabilities, wish.extra_specs)
    }
    named = sorted(key for key in unmet if key in VISIBLE or key.endswith("_support"))
    of_what = f" ({', '.join(named)})" if named else ""
    return f"No back end has what the share type asks for{of_what}."
