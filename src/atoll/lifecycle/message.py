"""User messages about operations that were given up."""

from __future__ import annotations

from sqlalchemy import Connection

from atoll.db import messages
from atoll.db.messages import Action, Detail, Resource
from atoll.db.rows import Row
from atoll.engine.operation import Operation
from atoll.errors import AtollError


def sentence(error: Exception) -> str:
    """What a user may read of an error: our own sentences, never an internal failure's."""
    if isinstance(error, AtollError):
        return str(error)
    return "Something unexpected went wrong. The administrator finds it in the log."


def tell(
    connection: Connection,
    operation: Operation,
    row: Row,
    resource: Resource,
    action: Action,
    text: str,
    detail: Detail = Detail.UNKNOWN_ERROR,
) -> None:
    """Leave the row's project a message; ``text`` says why and what to do."""
    messages.create(
        connection,
        project_id=row["project_id"],
        resource_type=resource,
        resource_id=row["id"],
        action=action,
        detail=detail,
        user_message=text,
        request_id=operation.request_id,
    )
