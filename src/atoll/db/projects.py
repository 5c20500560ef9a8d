"""Projects, if Atoll authenticates users by its own tokens. Keystone has its own projects."""

from __future__ import annotations

from typing import cast
from uuid import uuid4

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from atoll.db.rows import Rows
from atoll.db.tables import projects
from atoll.errors import Conflict, NotFound
from atoll.model.records import Project

_rows = Rows[Project](projects, "Project")
get, require = _rows.get, _rows.require


def create(
    connection: Connection,
    name: str,
    *,
    project_id: str | None = None,
    description: str | None = None,
) -> Project:
    """Add a project. Its id has Keystone's form. Raises ``Conflict`` if the name is taken."""
    project: Project = {
        "id": project_id or uuid4().hex,
        "name": name,
        "description": description,
    }
    taken = Conflict(f"A project with the name or id {name} exists already.")
    if get(connection, name) is not None or every(connection, name=project["id"]):
        raise taken  # a name that is another project's id would be ambiguous
    try:
        with connection.begin_nested():
            return _rows.add(connection, project)
    except IntegrityError:
        raise taken from None


def find(connection: Connection, name_or_id: str) -> Project:
    """A project by its id or its name.

    Raises ``NotFound``, and ``Conflict`` if it is one project's name and another's id.
    """
    of_this_id = get(connection, name_or_id)
    named = every(connection, name=name_or_id)
    if of_this_id is not None and of_this_id not in named:
        named.append(of_this_id)
    if not named:
        raise NotFound(f"Project {name_or_id} could not be found.")
    if len(named) > 1:
        raise Conflict(f"{name_or_id} is the id of one project and the name of another.")
    return named[0]


def every(connection: Connection, name: str | None = None) -> list[Project]:
    """All projects, sorted by name, or only the project with this name."""
    statement = select(projects).order_by(projects.c.name)
    if name is not None:
        statement = statement.where(projects.c.name == name)
    return [cast(Project, dict(row)) for row in connection.execute(statement).mappings()]
