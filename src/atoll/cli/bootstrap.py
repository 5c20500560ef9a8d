"""First start: makes what a new deployment would otherwise need manual steps for.

Each step checks whether it is needed, so that it can run at each start, and continue after a crash.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from atoll.cli import home
from atoll.config import Settings
from atoll.db import facts, projects, share_networks, share_types, subnets, tokens
from atoll.db.database import Database
from atoll.db.migrations import upgrade
from atoll.engine.queue import enqueue
from atoll.errors import NotFound
from atoll.model.keys import network_key

PROJECT = "default"
SHARE_NETWORK = "default"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A deployment that is ready to serve."""

    deployment_id: str
    token_file: Path


def prepare(settings: Settings, database: Database) -> Prepared:
    """Upgrade the schema, and make what a first user needs.

    Raises ``ConfigurationError`` if the database belongs to another place or cloud.
    """
    settings.make_state_dir()
    upgrade(database)
    home.refuse_elsewhere(settings, database)
    token_file = settings.state_dir / "admin.token"
    with database.begin() as connection:
        facts.lock(connection)  # only one process makes all this
        deployment_id = _deployment_id(connection)
        if settings.api.auth_strategy == "token":
            project = _project(connection)
            # On OpenStack users name their own networks; clients can't be in one that Atoll makes.
            if settings.driver.driver_handles_share_servers and settings.cloud != "openstack":
                _share_network(connection, project)
            _first_token(connection, project, token_file)
        handles = settings.driver.driver_handles_share_servers
        _share_type(connection, settings.driver.default_share_type, handles_servers=handles)
    return Prepared(deployment_id, token_file)


def deployment_id(database: Database) -> str:
    """The deployment's id, which tags everything that it makes in the cloud."""
    known = known_deployment(database)
    if known is not None:
        return known
    with database.begin() as connection:
        facts.lock(connection)
        return _deployment_id(connection)


def known_deployment(database: Database) -> str | None:
    """The deployment's id, or None if it has none yet."""
    with database.read() as connection:
        return facts.get(connection, "id")


def _deployment_id(connection: Connection) -> str:
    known = facts.get(connection, "id")
    if known is None:
        known = uuid.uuid4().hex[:8]
        facts.put(connection, "id", known)
    return known


def _project(connection: Connection) -> str:
    found = projects.every(connection, name=PROJECT)
    project = found[0] if found else projects.create(connection, PROJECT)
    return str(project["id"])


def _first_token(connection: Connection, project_id: str, file: Path) -> None:
    """Make the first token; write it to ``file`` (0600) before the row commits."""
    if tokens.every(connection):
        return
    token = tokens.create(
        connection, "first", project_id, user_id=uuid.uuid4().hex, roles=("admin", "member")
    )
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as written:
        written.write(token + "\n")
        written.flush()
        os.fsync(written.fileno())


def _share_type(connection: Connection, name: str, *, handles_servers: bool) -> None:
    try:
        share_types.find(connection, name)
    except NotFound:
        share_types.create(
            connection,
            name=name,
            description="Shares served by a service instance"
            + (" on your share network" if handles_servers else ""),
            is_public=True,
            extra_specs={
                "driver_handles_share_servers": str(handles_servers),
                "snapshot_support": "True",
                "create_share_from_snapshot_support": "True",
            },
        )


def _share_network(connection: Connection, project_id: str) -> None:
    if facts.get(connection, "first_share_network") is not None:
        return  # it is made only once, so a user can delete it
    network_id = share_networks.create(connection, project_id, None, name=SHARE_NETWORK)
    subnets.create(connection, network_id)
    facts.put(connection, "first_share_network", network_id)
    enqueue(connection, network_key(network_id))
