"""Share types, and the projects that may use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack, cast
from uuid import uuid4

from sqlalchemy import Connection, delete, exists, func, insert, or_, select
from sqlalchemy.exc import IntegrityError

from atoll.db import quotas
from atoll.db.rows import Rows
from atoll.db.tables import share_type_access, share_types, shares
from atoll.errors import Conflict, Invalid, NotFound
from atoll.model.records import ShareType

_rows = Rows[ShareType](share_types, "Share type")


def require(
    connection: Connection,
    type_id: str,
    project_id: str | None = None,
    *,
    for_update: bool = False,
) -> ShareType:
    """A share type by its id; with ``project_id`` only if that project may use it.

    ``for_update`` locks the type until this transaction ends. Raises ``NotFound``.
    """
    statement = select(share_types).where(share_types.c.id == type_id)
    if project_id is not None:
        statement = statement.where(_usable_by(project_id))
    if for_update:
        statement = statement.with_for_update()
    found = connection.execute(statement).mappings().first()
    if found is None:
        raise NotFound(f"Share type {type_id[:255]} could not be found.")
    return _record(found)


def find(connection: Connection, name_or_id: str, project_id: str | None = None) -> ShareType:
    """The share type with this id or name; with ``project_id`` only if the project may use it.

    Raises ``NotFound``, with the same message whether the type does not exist or the project may
    not use it.
    """
    statement = select(share_types)
    if project_id is not None:
        statement = statement.where(_usable_by(project_id))
    for same in (share_types.c.id == name_or_id, share_types.c.name == name_or_id):
        found = connection.execute(statement.where(same)).mappings().first()
        if found is not None:
            return _record(found)
    raise NotFound(f"Share type {name_or_id[:255]} could not be found.")


def every(
    connection: Connection, project_id: str | None = None, is_public: bool | None = None
) -> list[ShareType]:
    """Share types, oldest first: all, those that a project may use, or only public or private ones.

    With ``project_id``, ``is_public`` has no effect.
    """
    statement = select(share_types).order_by(share_types.c.created_at, share_types.c.id)
    if project_id is not None:
        statement = statement.where(_usable_by(project_id))
    elif is_public is not None:
        statement = statement.where(share_types.c.is_public == is_public)
    return [_record(row) for row in connection.execute(statement).mappings()]


def _record(row: Mapping[Any, Any]) -> ShareType:
    return cast(ShareType, dict(row))


def _usable_by(project_id: str) -> Any:
    granted = exists().where(
        share_type_access.c.share_type_id == share_types.c.id,
        share_type_access.c.project_id == project_id,
    )
    return or_(share_types.c.is_public.is_(True), granted)


def create(
    connection: Connection,
    name: str,
    extra_specs: dict[str, str],
    *,
    description: str | None = None,
    is_public: bool = True,
) -> ShareType:
    """Add a share type. Raises ``Conflict`` if the name is taken."""
    row_id = str(uuid4())
    taken = select(share_types.c.id).where(share_types.c.name == name)
    if connection.execute(taken).first() is not None:
        raise Conflict(f"A share type with the name {name} exists already.")
    try:
        with connection.begin_nested():
            values: ShareType = {
                "id": row_id,
                "name": name,
                "description": description,
                "is_public": is_public,
                "extra_specs": extra_specs,
            }
            _rows.add(connection, values)
    except IntegrityError:
        raise Conflict(f"A share type with the name {name} exists already.") from None
    return find(connection, row_id)


def change(connection: Connection, type_id: str, /, **values: Unpack[ShareType]) -> ShareType:
    """Change some of a type's properties. Raises ``Conflict`` if the name is taken."""
    name = values.get("name")
    if name is not None:
        taken = select(share_types.c.id).where(share_types.c.name == name)
        if connection.execute(taken.where(share_types.c.id != type_id)).first() is not None:
            raise Conflict(f"A share type with the name {name} exists already.")
    _rows.change(connection, type_id, values)
    return find(connection, type_id)


def remove(connection: Connection, type_id: str) -> None:
    """Delete a type with its access list and quotas. Raises ``Invalid`` if shares use it."""
    in_use = Invalid(
        f"Share type {type_id} is still in use.", hint="Delete the shares of this type first."
    )
    users = select(func.count()).where(shares.c.share_type_id == type_id)
    if connection.execute(users).scalar_one():
        raise in_use
    connection.execute(
        delete(share_type_access).where(share_type_access.c.share_type_id == type_id)
    )
    quotas.forget_share_type(connection, type_id)
    try:
        _rows.remove(connection, type_id)
    except IntegrityError:  # a share of this type was created meanwhile
        raise in_use from None


def projects_with_access(connection: Connection, type_id: str) -> list[str]:
    """Ids of the projects that have access to a private type."""
    statement = select(share_type_access.c.project_id).where(
        share_type_access.c.share_type_id == type_id
    )
    return list(connection.execute(statement.order_by(share_type_access.c.project_id)).scalars())


def add_access(connection: Connection, type_id: str, project_id: str) -> None:
    """Give a project access to a private type. Raises ``Conflict`` if it has access."""
    if project_id in projects_with_access(connection, type_id):
        raise Conflict(f"Project {project_id} has access to share type {type_id} already.")
    connection.execute(
        insert(share_type_access).values(share_type_id=type_id, project_id=project_id)
    )


def remove_access(connection: Connection, type_id: str, project_id: str) -> None:
    """Remove a project's access to a private type. Raises ``NotFound`` if it has none."""
    gone = connection.execute(
        delete(share_type_access).where(
            share_type_access.c.share_type_id == type_id,
            share_type_access.c.project_id == project_id,
        )
    )
    if not gone.rowcount:
        raise NotFound(f"Project {project_id} has no access to share type {type_id}.")
