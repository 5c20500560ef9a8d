"""User messages about operations that were given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection

from atoll.db import messages
from atoll.db.messages import Action, Detail, Resource
from atoll.engine.operation import Operation
from atoll.errors import AtollError
from atoll.model.records import Owned

UNEXPECTED = "Something unexpected went wrong."
MORE = " The administrator finds more in the log"
DELAYED = "This takes longer, and is tried again by itself."
DELAYS = {Action.UPDATE: "The share can't be served at the moment; it is brought back by itself."}
DELAYED_AT = 2
"""The failed try after which users are told the cause of the delay."""


def sentence(operation: Operation, error: Exception) -> str:
    """The text that users read about an error of ``operation``: its public sentence.

    If the error's message for operators says more, the text adds the request id. With it, the
    administrator finds that message in the log and in the operation's row.
    """
    public = error.public if isinstance(error, AtollError) else UNEXPECTED
    if isinstance(error, AtollError) and error.message == public:
        return public
    where = f" under request id {operation.request_id}" if operation.request_id else ""
    return f"{public}{MORE}{where}."


def _told(connection: Connection, row: Owned, text: str) -> bool:
    """Whether the resource has the same message already, with any request id or none."""
    return messages.told(connection, row["id"], text.partition(MORE)[0])


def tell(
    connection: Connection,
    operation: Operation,
    row: Owned,
    resource: Resource,
    action: Action,
    text: str,
    detail: Detail = Detail.UNKNOWN_ERROR,
) -> None:
    """Create a message for the row's project; ``text`` says why, and what the user can do.

    Background work may fail at every pass, but repeats no message about the same resource.
    """
    if operation.request_id is None and _told(connection, row, text):
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
    concerned: Callable[[Connection], Sequence[Owned]],
    resource: Resource,
    action: Action,
) -> Iterator[None]:
    """When work has failed twice and is retried, tell the users once what delays it.

    ``concerned`` returns the resources that wait for this work.
    """
    try:
        yield
    except AtollError as error:
        if error.retryable and operation.attempt >= DELAYED_AT:
            text = f"{DELAYS.get(action, DELAYED)} {sentence(operation, error)}"
            with operation.transaction() as connection:
                for row in concerned(connection):
                    if not _told(connection, row, text):
                        tell(connection, operation, row, resource, action, text)
        raise
