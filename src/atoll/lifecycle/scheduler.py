"""Chooses the pool of a new share by Manila's filters, which are applied one after the other.

The user's message says which filter left no pool. The filters are applied again at each later try,
so the requirements of share types and hints always hold.
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
"""Extra specs that a message may name, besides those that end in ``_support``."""

DETAILS: Mapping[str, Detail] = {
    "AvailabilityZone": Detail.FILTER_AVAILABILITY,
    "Capabilities": Detail.FILTER_CAPABILITIES,
}
"""Manila's message details by filter; for other filters it is ``NO_VALID_HOST``."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool, whose ``name`` is ``<controller>@<cloud>#<pool>``."""

    name: str
    zone: str
    capabilities: Mapping[str, Any]
    disabled: bool = False

    @property
    def host(self) -> str:
        """The back end that the pool belongs to."""
        return self.name.partition("#")[0]


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """What a share requires of its pool."""

    share: Share
    extra_specs: Mapping[str, str]
    near: frozenset[str] = frozenset()
    """Pools of the shares whose host it must share."""
    away_from: frozenset[str] = frozenset()
    """Pools of the shares whose host it must avoid."""
    subnet_zones: frozenset[str | None] | None = None
    """Zones of its share network's subnets, where None means all zones; None without a network."""

    @property
    def only_host(self) -> str:
        """The host that an administrator has chosen; empty if none was chosen."""
        return str(self.share["options"].get("only_host") or "")


def request_spec(connection: Connection, share: Share) -> RequestSpec:
    """What the share requires, by the present rows."""
    network_id = share["share_network_id"]
    known = subnets.of_network(connection, network_id) if network_id else []
    zones = frozenset(each["availability_zone"] for each in known if not each["deleting"])
    near, away = placement.hosts_of_hints(connection, share)
    return RequestSpec(
        share=share,
        extra_specs=placement.extra_specs(connection, share["share_type_id"]),
        near=frozenset(near),
        away_from=frozenset(away),
        subnet_zones=zones if network_id else None,
    )


def pools(connection: Connection, backend: Backend) -> list[Pool]:
    """The pools that a share may be placed in: this worker's, then those of other live workers.

    This worker's pools are read directly, because it may not have reported them yet. Raises
    ``CloudUnavailable`` if there are no pools.
    """
    settings = backend.settings
    known = services.every(connection, backend.database.now(connection))
    is_disabled = any(each["disabled"] for each in known if each["host"] == settings.backend_host)
    found = [
        Pool(
            name=pool["name"],
            zone=settings.driver.storage_availability_zone,
            capabilities=pool["capabilities"],
            disabled=is_disabled,
        )
        for pool in backend.pools()
    ]
    for service in known:
        if service["host"] != settings.backend_host and service["state"] == "up":
            found += [
                Pool(pool["name"], service["zone"], pool["capabilities"], service["disabled"])
                for pool in service["pools"]
            ]
    if not found:
        raise CloudUnavailable("The cloud has no pool for volumes at the moment.")
    return found


def choose(spec: RequestSpec, pools: Sequence[Pool]) -> Pool:
    """The pool for a share: the one with the most room of the first back end that is suitable.

    Raises ``NoValidHost``, which names the filter that left no pool.
    """
    filters: tuple[tuple[str, Callable[[RequestSpec, Pool], bool], Callable[[], str]], ...] = (
        ("Enabled", _is_enabled, lambda: "The administrator has disabled all back ends."),
        ("AvailabilityZone", _is_in_zone, lambda: _of_zone(spec)),
        ("Capabilities", _is_capable, lambda: _of_capabilities(spec, pools)),
        (
            "Affinity",
            _is_near,
            lambda: "The hosts of the shares in the hint same_host can't take the share.",
        ),
        (
            "AntiAffinity",
            _is_away,
            lambda: "The shares in the hint different_host are on every host.",
        ),
        ("OnlyHost", _is_only_host, lambda: f"The host {spec.only_host} is not available."),
    )
    left = list(pools)
    for name, passes, reason in filters:
        left = [pool for pool in left if passes(spec, pool)]
        if not left:
            raise no_valid_host(reason(), name)
    return max((pool for pool in left if pool.host == left[0].host), key=_room)


def no_valid_host(reason: str, failed: str) -> NoValidHost:
    """An error that tells the user the ``reason`` why the filter ``failed`` left no pool."""
    what_to_do = "Try another share type, availability zone or hint, or ask the administrator."
    return NoValidHost(public=f"No valid host was found. {reason} {what_to_do}", failed=failed)


def _room(pool: Pool) -> float:
    free = pool.capabilities.get("free_capacity_gb")
    return float(free) if isinstance(free, int | float) else 0.0


def _is_enabled(spec: RequestSpec, pool: Pool) -> bool:
    """Whether the pool takes new shares. An administrator may choose a disabled host, too."""
    return not pool.disabled or bool(spec.only_host)


def _is_in_zone(spec: RequestSpec, pool: Pool) -> bool:
    wanted, allowed = spec.share["availability_zone"], spec.share["options"].get("zones")
    if wanted and pool.zone != wanted:
        return False
    if allowed and pool.zone not in allowed:
        return False
    return spec.subnet_zones is None or not spec.subnet_zones.isdisjoint((pool.zone, None))


def _is_capable(spec: RequestSpec, pool: Pool) -> bool:
    return not capabilities.unmet(pool.capabilities, spec.extra_specs)


def _is_near(spec: RequestSpec, pool: Pool) -> bool:
    return not spec.near or pool.name in spec.near


def _is_away(spec: RequestSpec, pool: Pool) -> bool:
    return pool.name not in spec.away_from


def _is_only_host(spec: RequestSpec, pool: Pool) -> bool:
    return spec.only_host in ("", pool.name, pool.host)


def _of_zone(spec: RequestSpec) -> str:
    zone = spec.share["availability_zone"] or ", ".join(spec.share["options"].get("zones") or ())
    return (
        f"No back end is in the availability zone {zone} and has a subnet there."
        if zone
        else ("No back end is in an availability zone of the share network's subnets.")
    )


def _of_capabilities(spec: RequestSpec, pools: Sequence[Pool]) -> str:
    """Say which extra specs no pool satisfies, but name only those that users may know."""
    unmet = {
        key.removeprefix("capabilities:")
        for pool in pools
        for key in capabilities.unmet(pool.capabilities, spec.extra_specs)
    }
    named = sorted(key for key in unmet if key in VISIBLE or key.endswith("_support"))
    of_what = f" ({', '.join(named)})" if named else ""
    return f"No back end has what the share type asks for{of_what}."
