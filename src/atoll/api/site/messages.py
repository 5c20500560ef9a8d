"""User messages: ``/messages``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection

from atoll.api.frame import paging
from atoll.api.frame.call import Call
from atoll.api.frame.filters import Filters, Query, filter_by
from atoll.api.frame.paging import Link, Page, Params
from atoll.api.frame.resource import Deletion, Listing, Resource
from atoll.api.frame.views import View, field
from atoll.db import messages
from atoll.errors import Invalid
from atoll.model.records import Message


def _links(row: Message, call: Call) -> list[Link]:
    return call.links(f"messages/{row['id']}")


VIEW = View(
    Message,
    field("id"),
    field("project_id"),
    field("request_id"),
    field("resource_type"),
    field("resource_id"),
    field("action_id"),
    field("detail_id"),
    field("message_level"),
    field("user_message"),
    field("created_at"),
    field("expires_at"),
    field("links", _links),
)


def _moment(params: Params, name: str) -> str:
    """A time, ISO 8601, as the database writes it; without a zone it is UTC."""
    text = (paging.one(params, name) or "").replace(" ", "+")  # a '+' that was not escaped
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return messages.text_of(moment)
    except (ValueError, OverflowError):
        raise Invalid(
            f"The parameter {name} must be a time like 2026-11-22T10:00:00Z, not {text[:40]!r}."
        ) from None


FILTERS = Filters(
    (Message, "created_since", "created_before"),
    filter_by("request_id"),
    filter_by("resource_type"),
    filter_by("resource_id"),
    filter_by("action_id"),
    filter_by("detail_id"),
    filter_by("message_level"),
    filter_by("created_since", since="2.52", read=_moment),
    filter_by("created_before", since="2.52", read=_moment),
)


def _find(
    call: Call, connection: Connection, query: Query, page: Page
) -> tuple[list[Message], bool]:
    """The project's messages; who sees all sees everybody's."""
    return messages.find(connection, call.own_project, query.equal, page)


def _get(call: Call, connection: Connection, message_id: str) -> Message:
    return messages.require(connection, message_id, call.own_project)


def _remove(call: Call, connection: Connection, row: Message) -> None:
    messages.remove(connection, row["id"])


MESSAGES: Final = Resource[Message](
    name="message",
    plural="messages",
    path="/messages/{message_id}",
    since="2.37",
    show_rule="message:get",
    view=VIEW,
    get=_get,
    lock=_get,
    listing=Listing(
        rules=("message:get_all", "message:get_all"),
        find=_find,
        sort_keys=messages.SORTABLE,
        filters=FILTERS,
        brief=VIEW,
        detailed=False,
    ),
    deletion=Deletion(rule="message:delete", begin=_remove, success=204),
)
routes, RULES = MESSAGES.routes(), MESSAGES.rules()
