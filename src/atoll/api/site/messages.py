"""User messages: ``/messages``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from atoll.api.frame import paging
from atoll.api.frame.call import Call
from atoll.api.frame.filters import Filters, filter_by
from atoll.api.frame.paging import Params
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.views import View, field
from atoll.db import messages
from atoll.errors import Invalid

RULES = rules(reader=("message:get", "message:get_all"), member=("message:delete",))
routes = Routes()

VIEW = View(
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
    field("links", lambda row, call: call.links(f"messages/{row['id']}")),
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
    filter_by("request_id"),
    filter_by("resource_type"),
    filter_by("resource_id"),
    filter_by("action_id"),
    filter_by("detail_id"),
    filter_by("message_level"),
    filter_by("created_since", since="2.52", read=_moment),
    filter_by("created_before", since="2.52", read=_moment),
)


@routes.get("/messages", policy="message:get_all", since="2.37")
def index(call: Call) -> Body:
    """The project's messages; an administrator's list has everybody's."""
    page = call.page(messages.SORTABLE)
    params = call.request.params
    with call.database.read() as connection:
        found, more = messages.find(connection, call.own_project, FILTERS.equal(call), page)
    answer: dict[str, Any] = {"messages": call.shape(VIEW).many(found, call)}
    if more:
        url = f"{call.base_url}/v2/messages"
        answer["messages_links"] = paging.link(url, params, found[-1]["id"])
    return answer


@routes.get("/messages/{message_id}", policy="message:get", since="2.37")
def show(call: Call, message_id: str) -> Body:
    """One message."""
    with call.database.read() as connection:
        row = messages.require(connection, message_id, call.own_project)
    return {"message": call.shape(VIEW).one(row, call)}


@routes.delete("/messages/{message_id}", policy="message:delete", status=204, since="2.37")
def delete(call: Call, message_id: str) -> None:
    """Take a message away."""
    with call.database.begin() as connection:
        messages.require(connection, message_id, call.own_project)
        messages.remove(connection, message_id)
