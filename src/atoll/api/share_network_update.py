"""Changing a share network: its names, and where its default subnet is in the cloud.

A change is checked against the present state: one of the two Neutron ids may be given for a subnet
that has both, values as they are shown are accepted, and of a share network in use only name and
description change.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from atoll.api import bodies
from atoll.api.call import Call
from atoll.api.routing import Body, Routes
from atoll.api.share_networks import NetworkId, converge, no_nova_network, shown, visible
from atoll.db import database, placement, share_networks
from atoll.db.rows import Row
from atoll.errors import Forbidden, Invalid

routes = Routes()

_NAMES: Final = ("name", "description")


class _Known(msgspec.Struct):
    """The keys of the body that count; others are ignored."""

    name: bodies.Name | None = None
    description: bodies.Name | None = None
    neutron_net_id: NetworkId | None = None
    neutron_subnet_id: NetworkId | None = None
    nova_net_id: str | None = None


@routes.put("/share-networks/{network_id}", policy="share_network:update", envelope="share_network")
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
        subnets = visible(call, connection, network_id)["subnets"]
    default = [subnet for subnet in subnets if subnet["availability_zone"] is None]
    now: Row = default[0] if default else {}
    ids = [getattr(wish, name) or now.get(name) for name in share_networks.NEUTRON_IDS]
    if ids != [now.get(name) for name in share_networks.NEUTRON_IDS]:
        call.check_network(*ids)


def _is_in_use(connection: Connection, network_id: str) -> bool:
    """Whether it has share servers, or shares that are to get one."""
    return share_networks.has_servers(connection, network_id) or bool(
        share_networks.count_shares(connection, network_id)
    )


def _move(connection: Connection, network: Row, wish: _Known) -> bool:
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
    ids = {name: getattr(wish, name) for name in share_networks.NEUTRON_IDS}
    if all(ids[name] in (None, subnet[name]) for name in share_networks.NEUTRON_IDS):
        return False
    placement.lock_subnet(connection, subnet["id"])
    if not subnet["managed"]:
        ids = {name: value or subnet[name] for name, value in ids.items()}
        nothing = dict.fromkeys(share_networks.FILLED_BY_WORKER)
        share_networks.change_subnet(connection, subnet["id"], **ids, **nothing)
        return True
    if None in ids.values():
        raise Invalid(
            f"To update the share network {network['id']} you need to specify both "
            "'neutron_net_id' and 'neutron_subnet_id': it was made without."
        )
    # The worker deletes the network that it made for the old subnet.
    share_networks.mark_subnet_deleting(connection, subnet["id"])
    share_networks.add_subnet(connection, network["id"], **ids)
    return True
