"""Deletes all resources from the database, after the cloud has been emptied."""

from __future__ import annotations

from sqlalchemy import Connection, delete

from atoll.db import restores, tables, whereabouts

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
"""Tables in an order that foreign keys allow."""

FACTS = (
    "first_share_network",
    restores.KNOWN_ORPHANS,
    whereabouts.LOCAL_HOST,
    whereabouts.CLOUD,
)


def forget_cloud(connection: Connection) -> None:
    """Forget which cloud the deployment uses, because its resources there are being removed.

    The purge also removes the mark by which ``local`` is recognised. If it is interrupted, the
    next purge must not take the cloud for another deployment's.
    """
    keys = (whereabouts.LOCAL_HOST, whereabouts.CLOUD)
    connection.execute(delete(tables.deployment).where(tables.deployment.c.key.in_(keys)))


def forget_resources(connection: Connection) -> None:
    """Delete all shares and what belongs to them; keep projects, tokens and share types."""
    for table in RESOURCES:
        connection.execute(delete(table))
    connection.execute(delete(tables.deployment).where(tables.deployment.c.key.in_(FACTS)))
