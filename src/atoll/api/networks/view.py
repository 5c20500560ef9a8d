"""How share networks and their subnets look at each microversion.

Up to 2.50 a share network has one subnet, whose fields are its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_type_hints

from atoll.api.frame.call import Call
from atoll.api.frame.columns import check
from atoll.api.frame.views import Field, View, constant, field, reported
from atoll.model.records import ShareNetwork, Subnet

DETAILS: Final = "share_network:show_network_details"
OF_PROVIDER: Final = ("network_type", "segmentation_id")
"""Fields about the cloud's own networks, shown only to users whom the policy ``DETAILS`` allows."""

_LAST_FLAT: Final = "2.50"


def _of_subnet(column: str) -> Callable[[ShareNetwork, Any], Any]:
    """A column of the default subnet: the one for all zones, else the oldest."""
    check(Subnet, [column])

    def value(network: ShareNetwork, _: Any) -> Any:
        subnets = network["subnets"]
        default = [subnet for subnet in subnets if subnet["availability_zone"] is None]
        chosen = (default or subnets)[:1]
        return dict(chosen[0])[column] if chosen else None

    return value


def _flat(name: str, since: str = "2.0") -> Field:
    kind = get_type_hints(Subnet)[name] | None
    return field(name, _of_subnet(name), since=since, until=_LAST_FLAT, kind=kind)


_SUBNET: Final = (
    field("id"),
    field("availability_zone"),
    field("created_at"),
    field("updated_at"),
    field("segmentation_id"),
    field("neutron_net_id"),
    field("neutron_subnet_id"),
    field("ip_version"),
    field("cidr"),
    field("network_type"),
    field("mtu"),
    field("gateway"),
)
_INSIDE: Final = View(Subnet, *_SUBNET, called="SubnetOfNetwork")
"""A subnet inside its share network."""
_SHAPE: Final = _INSIDE.at(0)


def _network_name(_: Subnet, network: ShareNetwork) -> str | None:
    return network["name"]


def _subnets(row: ShareNetwork, _: Any) -> list[dict[str, Any]]:
    return _SHAPE.many(row["subnets"])


SUBNET: Final = View(
    Subnet,
    *_SUBNET,
    field("share_network_id"),
    field("share_network_name", _network_name),
)
"""A subnet by itself; its scope is its share network."""

SUMMARY: Final = View(ShareNetwork, field("id"), field("name"), called="ShareNetworkSummary")
DETAIL: Final = View(
    ShareNetwork,
    field("id"),
    field("name"),
    field("project_id"),
    field("description"),
    field("created_at"),
    field("updated_at"),
    field("status", since="2.63"),
    reported("security_service_update_support", since="2.63"),
    reported("network_allocation_update_support", since="2.70"),
    field(
        "share_network_subnets",
        _subnets,
        since="2.51",
        kind=[_INSIDE],
    ),
    _flat("neutron_net_id"),
    _flat("neutron_subnet_id"),
    _flat("network_type"),
    _flat("segmentation_id"),
    _flat("cidr"),
    _flat("ip_version"),
    _flat("gateway", since="2.18"),
    _flat("mtu", since="2.20"),
    constant("nova_net_id", None, until="2.25"),
)


def for_caller(call: Call, network: ShareNetwork) -> ShareNetwork:
    """The share network as the caller may see it."""
    if call.may(DETAILS):
        return network
    nothing: Subnet = {"network_type": None, "segmentation_id": None}
    return {**network, "subnets": [{**subnet, **nothing} for subnet in network["subnets"]]}
