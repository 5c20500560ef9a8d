"""Share networks: ``/share-networks``; their subnets and changes are in modules of their own.

A share network made without Neutron ids is *managed*: Atoll makes its network, and the operation
that it asks for fills in what it has become (network id, range, gateway, MTU).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from sqlalchemy import Connection

from atoll.api.frame import bodies, paging
from atoll.api.frame.answers import OF_EVERYBODY
from atoll.api.frame.call import Call
from atoll.api.frame.filters import Filters, Query, filter_by, nothing_has, number
from atoll.api.frame.paging import Page, Params
from atoll.api.frame.resource import Deletion, Listing, Resetting, Resource
from atoll.api.frame.routing import Body
from atoll.api.networks.view import DETAIL, DETAILS, OF_PROVIDER, SUMMARY, for_caller
from atoll.api.site.availability_zones import chosen_zone
from atoll.db import database, quotas, share_networks, subnets
from atoll.engine.queue import enqueue
from atoll.errors import Conflict, Invalid
from atoll.model import features
from atoll.model.keys import network_key
from atoll.model.records import ShareNetwork
from atoll.model.states import SETTABLE_NETWORK_STATUSES

_ALL = "share_network:get_all_share_networks"


def _day(params: Params, name: str) -> str:
    text = paging.one(params, name) or ""
    try:
        return datetime.strptime(text, "%Y-%m-%d").isoformat(timespec="microseconds")
    except ValueError:
        raise Invalid(
            f"The parameter {name} must look like 2026-11-22, not {text[:40]!r}."
        ) from None


FILTERS = Filters(
    (ShareNetwork, *share_networks.OF_SUBNETS, "created_since", "created_before"),
    *(filter_by(name) for name in ("name", "description", "status")),
    *(filter_by(name) for name in ("neutron_net_id", "neutron_subnet_id", "network_type", "cidr")),
    *(filter_by(name, read=number) for name in ("segmentation_id", "ip_version")),
    *(filter_by(name, read=_day) for name in ("created_since", "created_before")),
    filter_by("name~", since="2.36"),
    filter_by("description~", since="2.36"),
    *(filter_by(name) for name in ("id", "user_id", "gateway", "availability_zone")),
    filter_by("mtu", read=number),
    # Atoll has no security services, and Nova has no networks any more.
    nothing_has("security_service_id"),
    nothing_has("nova_net_id"),
)


def _find(
    call: Call, connection: Connection, query: Query, page: Page
) -> tuple[list[ShareNetwork], bool]:
    # Who may not see a value finds nothing by it, so that it cannot be guessed.
    if query.is_empty or (not call.may(DETAILS) and not query.equal.keys().isdisjoint(OF_PROVIDER)):
        return [], False
    found, more = share_networks.find(connection, _whose(call), query.equal, query.like, page)
    return [for_caller(call, row) for row in found], more


def _whose(call: Call) -> str | None:
    """The project whose networks are listed; None for all. Raises ``Forbidden``.

    Clients ask for all tenants whenever they look for a name: for who may not see them, all are
    the caller's own.
    """
    params = call.request.params
    project = paging.one(params, "project_id")
    everybody = paging.is_set(params, "all_tenants") or paging.is_set(params, "all_projects")
    own = call.identity.project_id
    if everybody and project is None and not call.may(_ALL):
        return call.project_id
    if everybody or not own or project not in (None, own):
        call.enforce(rule=_ALL)
        return project
    return own


def visible(call: Call, connection: Connection, network_id: str) -> ShareNetwork:
    """A share network with its subnets that the caller may act on. Raises ``NotFound``."""
    row = share_networks.require(connection, network_id, call.own_project)
    call.enforce(row)
    return row


def _for_caller(call: Call, connection: Connection, network_id: str) -> ShareNetwork:
    return for_caller(call, visible(call, connection, network_id))


def shown(call: Call, connection: Connection, network_id: str) -> Body:
    """The answer with a share network as it is now."""
    row = for_caller(call, share_networks.require(connection, network_id))
    return NETWORKS.shown(call, connection, row)


def converge(call: Call, connection: Connection, network_id: str) -> None:
    """Have the worker make the network what its rows say, once this transaction commits."""
    enqueue(connection, network_key(network_id), request_id=call.request_id)


def _want_deleted(call: Call, connection: Connection, row: ShareNetwork) -> None:
    """Request the deletion, with that of its share servers; not while shares are on it."""
    network_id = row["id"]
    # Shares and subnets are made under this lock, so none can appear before the mark.
    database.project_lock(connection, row["project_id"])
    row = visible(call, connection, network_id)
    count = share_networks.count_shares(connection, network_id)
    if count:
        raise Conflict(f"Can not delete share network {network_id}, it has {count} share(s).")
    if len(row["subnets"]) > 1:
        raise Conflict(
            f"The share network {network_id} has more than one subnet attached. Please remove "
            "the subnets until you have one or no subnets remaining."
        )
    share_networks.mark_deleting(connection, network_id)
    converge(call, connection, network_id)


NETWORKS: Final = Resource[ShareNetwork](
    name="share_network",
    plural="share_networks",
    path="/share-networks/{network_id}",
    show_rule="share_network:show",
    view=DETAIL,
    get=_for_caller,
    lock=visible,
    change=share_networks.change,
    listing=Listing(
        rules=("share_network:index", "share_network:detail"),
        find=_find,
        sort_keys=share_networks.SORTABLE,
        filters=FILTERS,
        brief=SUMMARY,
        newest_first=False,
        parameters=OF_EVERYBODY,
    ),
    deletion=Deletion(rule="share_network:delete", begin=_want_deleted),
    resetting=Resetting(
        rule="share_network:reset_status",
        statuses={status.value: status for status in SETTABLE_NETWORK_STATUSES},
        since="2.63",
    ),
)
routes = NETWORKS.routes()
RULES = NETWORKS.rules(
    member=(
        "share_network:create",
        "share_network:update",
        "share_network:add_security_service",
        "share_network:remove_security_service",
    ),
    overseer=(_ALL,),
    admin=(DETAILS,),
)

NetworkId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}" + bodies.END)]


class CreateNetwork(msgspec.Struct):
    """The two Neutron ids are given together, or Atoll makes the network itself."""

    name: bodies.Name | None = None
    description: bodies.Name | None = None
    neutron_net_id: NetworkId | None = None
    neutron_subnet_id: NetworkId | None = None
    nova_net_id: str | None = None
    availability_zone: Annotated[bodies.Name | None, bodies.since("2.51")] = None


class Anything(msgspec.Struct):
    """A body that is not looked into."""


@routes.post(
    "/share-networks",
    policy="share_network:create",
    envelope="share_network",
    answers=NETWORKS.one,
)
def create(call: Call, body: CreateNetwork) -> Body:
    """Make a share network with one subnet."""
    check_neutron_ids(body.neutron_net_id, body.neutron_subnet_id)
    no_nova_network(body.nova_net_id)
    call.check_network(body.neutron_net_id, body.neutron_subnet_id)
    limits = call.settings.quota.limits()
    with call.database.begin() as connection:
        zone = chosen_zone(call, connection, body.availability_zone)
        quotas.reserve(
            connection, call.project_id, call.user_id, None, share_networks=1, defaults=limits
        )
        network_id = share_networks.create(
            connection, call.project_id, call.user_id, name=body.name, description=body.description
        )
        subnets.create(
            connection,
            network_id,
            neutron_net_id=body.neutron_net_id,
            neutron_subnet_id=body.neutron_subnet_id,
            availability_zone=zone,
        )
        converge(call, connection, network_id)
        return shown(call, connection, network_id)


def check_neutron_ids(network: str | None, subnet: str | None) -> None:
    """Raises ``Invalid`` when only one of the two is given."""
    if (network is None) != (subnet is None):
        raise Invalid(
            "neutron_net_id and neutron_subnet_id are given together, or not at all.",
            hint="Without them Atoll makes a network for the share network itself.",
        )


def no_nova_network(nova_net_id: str | None) -> None:
    """Raises ``Invalid`` when one is named."""
    if nova_net_id is not None:
        features.NOVA_NETWORKS.check()


@routes.action(
    NETWORKS.path,
    "add_security_service",
    policy="share_network:add_security_service",
    since="2.0",
    needs=features.SECURITY_SERVICES,
)
@routes.action(
    NETWORKS.path,
    "remove_security_service",
    policy="share_network:remove_security_service",
    since="2.0",
    needs=features.SECURITY_SERVICES,
)
def security_service(call: Call, network_id: str, body: Anything) -> None:
    """Clients of share networks may ask for these; there are none."""
    with call.database.read() as connection:
        visible(call, connection, network_id)
    features.SECURITY_SERVICES.check()
