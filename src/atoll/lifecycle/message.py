"""User messages about operations that were given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from atoll.db import messages
from atoll.db.messages import Action, Detail, Resource
from atoll.db.rows import Row
from atoll.engine.operation import Operation
from atoll.errors import AtollError, CloudError, ConfigurationError, GuestError

UNEXPECTED = "Something unexpected went wrong."
DELAYED = "This takes longer, and is tried again by itself."
DELAYS = {Action.UPDATE: "The share can't be served at the moment; it is brought back by itself."}
DELAYED_AT = 2
"""The failed try after which users are told why they have to wait."""


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


@contextmanager
def telling_of_delay(
    operation: Operation,
    concerned: Callable[[Connection], list[Row]],
    resource: Resource,
    action: Action,
) -> Iterator[None]:
    """Tell users, once, what holds up their work, when it has failed twice and goes on trying.

    ``concerned`` says what of theirs waits.
    """
    try:
        yield
    except AtollError as error:
        if error.retryable and operation.attempt >= DELAYED_AT:
            text = f"{DELAYS.get(action, DELAYED)} {sentence(error)}"
            with operation.transaction() as connection:
                for row in concerned(connection):
                    if not messages.told(connection, row["id"], text):
                        tell(connection, operation, row, resource, action, text)
        raise
