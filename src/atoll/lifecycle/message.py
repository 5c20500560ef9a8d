"""User messages about operations that were given up."""

from __future__ import annotations

from sqlalchemy import Connection

from atoll.db import messages
from atoll.db.messages import Action, Detail, Resource
from atoll.db.rows import Row
from atoll.engine.operation import Operation
from atoll.errors import AtollError, CloudError, ConfigurationError, GuestError

UNEXPECTED = "Something unexpected went wrong."


def sentence(error: Exception) -> str:
    """What a user may read of an error: our own sentences, never an internal failure's."""
    operators = (CloudError, GuestError, ConfigurationError)
    if isinstance(error, AtollError) and type(error) not in operators:
        return str(error)
    # What a cloud or a guest says in its own words names hosts and files of the operator's.
    cause = (type(error).__doc__ if isinstance(error, AtollError) else None) or UNEXPECTED
    return f"{cause} The administrator finds more in the log."


def tell(
    connection: Connection,
    operation: Operation,
    row: Row,
    resource: Resource,
    action: Action,
    text: str,
    detail: Detail = Detail.UNKNOWN_ERROR,
) -> None:
    """Leave the row's project a message; ``text`` says why and what to do.

    Background work, which fails again at every pass, says the same thing of a resource once.
    """
    if operation.request_id is None and messages.told(connection, row["id"], text):
        return
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
