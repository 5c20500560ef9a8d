"""User messages: why a request failed or is delayed, and what the user can do.

``action`` and ``detail`` are Manila's ids, so that every client understands them. The sentence is
Atoll's own, and names the cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, func, select

from atoll.db import pages
from atoll.db.database import utcnow_text
from atoll.db.rows import Rows
from atoll.db.tables import messages
from atoll.errors import NotFound
from atoll.model.records import Message

KEPT_FOR = timedelta(days=30)
MOST = 1000
"""How many of a project's newest messages are kept."""

SORTABLE = (
    "id",
    "project_id",
    "request_id",
    "resource_type",
    "resource_id",
    "action_id",
    "detail_id",
    "message_level",
    "created_at",
    "expires_at",
)


class Resource(StrEnum):
    """What a message is about."""

    SHARE = "SHARE"
    SNAPSHOT = "SHARE_SNAPSHOT"
    SHARE_NETWORK_SUBNET = "SHARE_NETWORK_SUBNET"


class Action(StrEnum):
    """What was being done."""

    ALLOCATE_HOST = "001"
    CREATE = "002"
    DELETE_ACCESS_RULES = "003"
    UPDATE = "005"
    REVERT_TO_SNAPSHOT = "006"
    DELETE = "007"
    EXTEND = "008"
    SHRINK = "009"
    UPDATE_ACCESS_RULES = "010"


class Detail(StrEnum):
    """The kind of cause."""

    UNKNOWN_ERROR = "001"
    NO_VALID_HOST = "002"
    NO_SHARE_SERVER = "004"
    FILTER_AVAILABILITY = "007"
    FILTER_CAPABILITIES = "008"
    FILTER_CAPACITY = "009"
    DRIVER_FAILED_EXTEND = "015"
    DRIVER_FAILED_CREATING_FROM_SNAP = "017"
    DRIVER_REFUSED_SHRINK = "018"
    DRIVER_FAILED_SHRINK = "019"
    FORBIDDEN_CLIENT_ACCESS = "020"
    UNSUPPORTED_CLIENT_ACCESS = "021"
    SUBNET_FULL = "033"


_rows = Rows[Message](messages, "Message")
remove = _rows.remove


def create(
    connection: Connection,
    project_id: str,
    resource_type: Resource,
    resource_id: str | None,
    action: Action,
    detail: Detail,
    user_message: str,
    request_id: str | None = None,
) -> str:
    """Add a message for a project; return its id."""
    message_id = str(uuid4())
    values: Message = {
        "id": message_id,
        "project_id": project_id,
        "request_id": request_id,
        "resource_type": resource_type.value,
        "resource_id": resource_id,
        "action_id": action.value,
        "detail_id": detail.value,
        "message_level": "ERROR",
        "user_message": user_message,
        "expires_at": text_of(datetime.now(UTC) + KEPT_FOR),
    }
    _rows.add(connection, values)
    return message_id


def text_of(moment: datetime) -> str:
    """A time in the format of the database: UTC without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def require(connection: Connection, message_id: str, project_id: str | None = None) -> Message:
    """A message, of this project if given. Raises ``NotFound``, also if the message has expired."""
    found = _rows.get(connection, message_id)
    if (
        found is None
        or project_id not in (None, found["project_id"])
        or found["expires_at"] <= utcnow_text()
    ):
        raise NotFound(f"Message {message_id} could not be found.")
    return found


def find(
    connection: Connection,
    project_id: str | None,
    equal: Mapping[str, Any],
    page: pages.Wanted,
) -> tuple[list[Message], bool]:
    """A page of the messages that have not expired, and whether there are more pages.

    ``equal`` has columns, and ``created_since`` and ``created_before`` (ISO 8601, UTC).
    """
    conditions = [messages.c.expires_at > utcnow_text()]
    if project_id is not None:
        conditions.append(messages.c.project_id == project_id)
    for name, value in equal.items():
        if name == "created_since":
            conditions.append(messages.c.created_at >= value)
        elif name == "created_before":
            conditions.append(messages.c.created_at <= value)
        else:
            conditions.append(messages.c[name] == value)
    return _rows.find(connection, conditions, page)


def told(connection: Connection, resource_id: str, beginning: str) -> bool:
    """Whether the resource already has a message that begins with this text."""
    statement = select(messages.c.id).where(
        messages.c.resource_id == resource_id,
        messages.c.user_message.startswith(beginning, autoescape=True),
    )
    return connection.execute(statement.limit(1)).first() is not None


def prune(connection: Connection) -> int:
    """Delete expired messages, and all but the newest ``MOST`` of a project; return how many."""
    count = connection.execute(
        delete(messages).where(messages.c.expires_at <= utcnow_text())
    ).rowcount
    many = select(messages.c.project_id).group_by(messages.c.project_id)
    for project_id in connection.execute(many.having(func.count() > MOST)).scalars().all():
        of_project = messages.c.project_id == project_id
        newest = select(messages.c.created_at).where(of_project)
        newest = newest.order_by(messages.c.created_at.desc()).offset(MOST - 1).limit(1)
        oldest_kept = connection.execute(newest).scalar_one()
        count += connection.execute(
            delete(messages).where(of_project, messages.c.created_at < oldest_kept)
        ).rowcount
    return count
