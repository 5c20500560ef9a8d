"""Projects, where Atoll authenticates by its own tokens; with Keystone they live there."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from atoll.db import rows
from atoll.db.database import utcnow_text
from atoll.db.rows import Row
from atoll.db.tables import projects
from atoll.errors import Conflict, NotFound


def create(
    connection: Connection,
    name: str,
    *,
    project_id: str | None = None,
    description: str | None = None,
) -> Row:
    """Add a project; its id is 32 hexadecimal digits, as Keystone's. ``Conflict`` on its name."""
    row = {
        "id": project_id or uuid4().hex,
        "name": name,
        "description": description,
        "created_at": utcnow_text(),
    }
    try:
        with connection.begin_nested():
            rows.add(connection, projects, **row)
    except IntegrityError:
        raise Conflict(f"A project with the name or id {name} exists already.") from None
    return row


def get(connection: Connection, project_id: str) -> Row:
    """A project by its id. Raises ``NotFound``."""
    found = rows.get(connection, projects, project_id)
    if found is None:
        raise NotFound(f"Project {project_id} could not be found.")
    return found


def find(connection: Connection, name_or_id: str) -> Row:
    """A project by its id or its name. Raises ``NotFound``."""
    found = rows.get(connection, projects, name_or_id)
    named = [found] if found is not None else every(connection, name=name_or_id)
    if not named:
        raise NotFound(f"Project {name_or_id} could not be found.")
    return named[0]


def every(connection: Connection, name: str | None = None) -> list[Row]:
    """All projects by name, or the one of this name."""
    statement = select(projects).order_by(projects.c.name)
    if name is not None:
        statement = statement.where(projects.c.name == name)
    return [dict(row) for row in connection.execute(statement).mappings()]
