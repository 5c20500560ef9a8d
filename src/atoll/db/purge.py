"""Forgets every resource, once the cloud has been emptied."""

from __future__ import annotations

from sqlalchemy import Connection, delete

from atoll.db import tables, whereabouts

RESOURCES = (
    tables.access_rules,
    tables.export_locations,
    tables.snapshots,
    tables.shares,
    tables.share_servers,
    tables.share_network_subnets,
    tables.share_networks,
    tables.driver_private_data,
    tables.operations,
    tables.removals,
)
"""In an order that no foreign key minds."""

FACTS = ("first_share_network", whereabouts.LOCAL_HOST, whereabouts.CLOUD)


def forget_cloud(connection: Connection) -> None:
    """Let the deployment have another cloud: all that it had in this one is being removed.

    The mark by which ``local`` is known goes as well, and a purge that dies half-way must find the
    cloud its own when it is run again.
    """
    keys = (whereabouts.LOCAL_HOST, whereabouts.CLOUD)
    connection.execute(delete(tables.deployment).where(tables.deployment.c.key.in_(keys)))


def forget_resources(connection: Connection) -> None:
    """Delete the rows of all shares and of what they stand on; projects, tokens, types stay."""
    for table in RESOURCES:
        connection.execute(delete(table))
    connection.execute(delete(tables.deployment).where(tables.deployment.c.key.in_(FACTS)))
