"""Changing a share network: its names, and where its default subnet is in the cloud.

A change is checked against the present state: one of the two Neutron ids may be given for a subnet
that has both, values as they are shown are accepted, and of a share network in use only name and
description change.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from atoll.api.frame import bodies
from atoll.api.frame.call import Call
from atoll.api.frame.routing import Body, Routes
from atoll.api.networks.share_networks import NetworkId, converge, no_nova_network, shown, visible
from atoll.api.networks.view import DETAIL
from atoll.db import database, share_networks, subnets
from atoll.errors import Forbidden, Invalid
from atoll.model.records import ShareNetwork, Subnet

routes = Routes()

_NAMES: Final = ("name", "description")


class _Known(msgspec.Struct):
    """The keys of the body that count; others are ignored."""

    name: bodies.Name | None = None
    description: bodies.Name | None = None
    neutron_net_id: NetworkId | None = None
    neutron_subnet_id: NetworkId | None = None
    nova_net_id: str | None = None


@routes.put(
    "/share-networks/{network_id}",
    policy="share_network:update",
    envelope="share_network",
    answers={"share_network": DETAIL},
    takes=_Known,
)
def update(call: Call, network_id: str, body: dict[str, Any]) -> Body:
    """Change name and description; the Neutron network only while nothing is on it."""
    wish = bodies.convert(body, _Known)
    no_nova_network(wish.nova_net_id)
    _check_usable(call, network_id, wish)
    names = {name: getattr(wish, name) for name in _NAMES if name in body}
    with call.database.begin() as connection:
        owner = visible(call, connection, network_id)["project_id"]
        database.project_lock(connection, owner)
        row = visible(call, connection, network_id)
        if not body.keys() <= set(_NAMES) and _is_in_use(connection, network_id):
            raise Forbidden(
                f"Cannot update share network {network_id}. It is used by share servers. Only "
                "'name' and 'description' fields are available for update."
            )
        share_networks.change(connection, network_id, **names)
        if any(name in body for name in share_networks.NEUTRON_IDS) and _move(
            connection, row, wish
        ):
            converge(call, connection, network_id)
        return shown(call, connection, network_id)


def _check_usable(call: Call, network_id: str, wish: _Known) -> None:
    """Raise ``Invalid`` unless the caller may use the network that the change would name.

    The cloud is asked before the transaction, because its answer may take seconds.
    """
    if wish.neutron_net_id is None and wish.neutron_subnet_id is None:
        return
    with call.database.read() as connection:
        known = visible(call, connection, network_id)["subnets"]
    default = [subnet for subnet in known if subnet["availability_zone"] is None]
    now: Subnet = default[0] if default else {}
    network = wish.neutron_net_id or now.get("neutron_net_id")
    subnet = wish.neutron_subnet_id or now.get("neutron_subnet_id")
    if (network, subnet) != (now.get("neutron_net_id"), now.get("neutron_subnet_id")):
        call.check_network(network, subnet)


def _is_in_use(connection: Connection, network_id: str) -> bool:
    """Whether it has share servers, or shares that are to get one."""
    return share_networks.has_servers(connection, network_id) or bool(
        share_networks.count_shares(connection, network_id)
    )


def _move(connection: Connection, network: ShareNetwork, wish: _Known) -> bool:
    """Change the default subnet's Neutron ids; False if it has these already.

    Raises ``Invalid`` if it is not clear which subnet or which ids are meant.
    """
    default = [subnet for subnet in network["subnets"] if subnet["availability_zone"] is None]
    if len(default) != 1:
        raise Invalid(
            f"The share network {network['id']} does not have a 'default' subnet that serves all "
            "availability zones, so subnet details ('neutron_net_id', 'neutron_subnet_id') cannot "
            "be updated."
        )
    subnet = default[0]
    network_id, subnet_id = wish.neutron_net_id, wish.neutron_subnet_id
    if network_id in (None, subnet["neutron_net_id"]) and subnet_id in (
        None,
        subnet["neutron_subnet_id"],
    ):
        return False
    subnets.lock(connection, subnet["id"])
    if not subnet["managed"]:
        subnets.move(
            connection,
            subnet["id"],
            network_id or subnet["neutron_net_id"],
            subnet_id or subnet["neutron_subnet_id"],
        )
        return True
    if network_id is None or subnet_id is None:
        raise Invalid(
            f"To update the share network {network['id']} you need to specify both "
            "'neutron_net_id' and 'neutron_subnet_id': it was made without."
        )
    # The worker deletes the network that it made for the old subnet.
    subnets.mark_deleting(connection, subnet["id"])
    subnets.create(
        connection, network["id"], neutron_net_id=network_id, neutron_subnet_id=subnet_id
    )
    return True
