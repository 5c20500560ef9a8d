"""Subnets of share networks: ``/share-networks/{id}/subnets``, one for each availability zone."""

from __future__ import annotations

import msgspec

from atoll.api.frame import bodies
from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.networks.share_networks import NetworkId, check_neutron_ids, converge, visible
from atoll.api.networks.view import SUBNET, for_caller
from atoll.api.site.availability_zones import chosen_zone
from atoll.db import database, share_networks, subnets
from atoll.errors import Conflict, NotFound
from atoll.model.records import ShareNetwork, Subnet

RULES = rules(
    reader=("share_network_subnet:index", "share_network_subnet:show"),
    member=("share_network_subnet:create", "share_network_subnet:delete"),
)
routes = Routes()

_PATH = "/share-networks/{network_id}/subnets"


class CreateSubnet(msgspec.Struct):
    """The two Neutron ids are given together, or Atoll makes the network itself."""

    neutron_net_id: NetworkId | None = None
    neutron_subnet_id: NetworkId | None = None
    availability_zone: bodies.Name | None = None


class Wanted(msgspec.Struct):
    """The envelope, without which a body is 400: here Manila does not say 422 as elsewhere."""

    subnet: CreateSubnet = msgspec.field(name="share-network-subnet")


def _of(network: ShareNetwork, subnet_id: str) -> Subnet:
    """One subnet of a network. Raises ``NotFound``."""
    for subnet in network["subnets"]:
        if subnet["id"] == subnet_id:
            return subnet
    raise NotFound(f"Share network subnet {subnet_id[:64]} could not be found.")


@routes.get(
    _PATH,
    policy="share_network_subnet:index",
    since="2.51",
    answers={"share_network_subnets": [SUBNET]},
)
def index(call: Call, network_id: str) -> Body:
    """A share network's subnets."""
    with call.database.read() as connection:
        network = for_caller(call, visible(call, connection, network_id))
    return {"share_network_subnets": call.shape(SUBNET).many(network["subnets"], network)}


@routes.get(
    f"{_PATH}/{{subnet_id}}",
    policy="share_network_subnet:show",
    since="2.51",
    answers={"share_network_subnet": SUBNET},
)
def show(call: Call, network_id: str, subnet_id: str) -> Body:
    """One subnet."""
    with call.database.read() as connection:
        network = for_caller(call, visible(call, connection, network_id))
    return {"share_network_subnet": call.shape(SUBNET).one(_of(network, subnet_id), network)}


@routes.post(
    _PATH,
    policy="share_network_subnet:create",
    since="2.51",
    answers={"share_network_subnet": SUBNET},
)
def create(call: Call, network_id: str, body: Wanted) -> Body:
    """Reach a share network in another zone."""
    return _create(call, network_id, body.subnet)


def _create(call: Call, network_id: str, body: CreateSubnet) -> Body:
    check_neutron_ids(body.neutron_net_id, body.neutron_subnet_id)
    call.check_network(body.neutron_net_id, body.neutron_subnet_id)
    with call.database.begin() as connection:
        network = visible(call, connection, network_id)
        zone = chosen_zone(call, connection, body.availability_zone)
        database.project_lock(connection, network["project_id"])
        network = visible(call, connection, network_id)
        zones = [subnet["availability_zone"] for subnet in network["subnets"]]
        if zone in zones:
            raise Conflict(
                f"Share network {network_id} has a subnet {_where(zone)} already; it can have one."
            )
        subnet_id = subnets.create(
            connection,
            network_id,
            neutron_net_id=body.neutron_net_id,
            neutron_subnet_id=body.neutron_subnet_id,
            availability_zone=zone,
        )
        converge(call, connection, network_id)
        network = for_caller(call, share_networks.require(connection, network_id))
    return {"share_network_subnet": call.shape(SUBNET).one(_of(network, subnet_id), network)}


def _where(zone: str | None) -> str:
    return f"in availability zone {zone}" if zone else "for all availability zones"


@routes.delete(f"{_PATH}/{{subnet_id}}", policy="share_network_subnet:delete", since="2.51")
def delete(call: Call, network_id: str, subnet_id: str) -> None:
    """Take a subnet away, with its share servers; not while shares are on it."""
    with call.database.begin() as connection:
        network = visible(call, connection, network_id)
        _of(network, subnet_id)
        database.project_lock(connection, network["project_id"])
        if share_networks.count_shares(connection, network_id, subnet_id):
            raise Conflict(
                f"Cannot delete share network subnet {subnet_id}, it has one or more shares."
            )
        subnets.mark_deleting(connection, subnet_id)
        converge(call, connection, network_id)
