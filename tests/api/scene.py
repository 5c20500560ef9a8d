"""Rows that a worker would have made: shares and share servers in given states."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from sqlalchemy import select

from atoll.db.database import Database
from atoll.db.tables import operations, share_servers, share_types, shares, snapshots
from tests import rows


def add_share(database: Database, project_id: str, **more: Any) -> str:
    share_id = str(uuid4())
    with database.begin() as connection:
        default = connection.execute(select(share_types.c.id)).scalars().first()
        values = {
            "share_type_id": default,
            "user_id": f"{project_id}-user",
            "size": 1,
            "share_proto": "NFS",
            "status": "available",
            "access_rules_status": "active",
            "is_public": False,
            "metadata": {},
            "options": {},
            **more,
        }
        rows.add(connection, shares, id=share_id, project_id=project_id, **values)
    return share_id


def add_snapshot(database: Database, project_id: str, share_id: str, size: int) -> str:
    snapshot_id = str(uuid4())
    with database.begin() as connection:
        rows.add(
            connection,
            snapshots,
            id=snapshot_id,
            project_id=project_id,
            user_id=f"{project_id}-user",
            share_id=share_id,
            share_size=size,
            size=size,
            share_proto="NFS",
            status="available",
            metadata={},
        )
    return snapshot_id


def add_server(database: Database, project_id: str, subnet_id: str, **more: Any) -> str:
    server_id = str(uuid4())
    with database.begin() as connection:
        values = {
            "host": "here@memory",
            "status": "active",
            "is_auto_deletable": True,
            "backend_details": {"instance_id": "i-1"},
            **more,
        }
        rows.add(
            connection,
            share_servers,
            id=server_id,
            project_id=project_id,
            share_network_subnet_id=subnet_id,
            **values,
        )
    return server_id


def queued(database: Database) -> set[str]:
    """Resources that a worker was asked to make true."""
    with database.read() as connection:
        return set(connection.execute(select(operations.c.resource)).scalars())
