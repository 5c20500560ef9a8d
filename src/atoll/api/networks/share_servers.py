"""Share servers, one service instance each: ``/share-servers``, for administrators."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from atoll.api.frame import paging
from atoll.api.frame.call import Call
from atoll.api.frame.filters import Filters, filter_by, nothing_has, status_of
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.views import View, field
from atoll.db import placement, share_servers, subnets
from atoll.engine.queue import enqueue
from atoll.errors import Conflict, Forbidden, Invalid
from atoll.model.keys import server_key
from atoll.model.states import DELETABLE_SERVERS, ServerStatus

RULES = rules(
    overseer=("share_server:index", "share_server:show", "share_server:details"),
    admin=("share_server:delete", "share_server:reset_status"),
)
routes = Routes()

_PATH = "/share-servers/{server_id}"

_BRIEF = (
    field("id"),
    field("project_id"),
    field("status", lambda row, _: row["status"].shown),
    field("host"),
    field("updated_at"),
    field("share_network_id"),
    field(
        "share_network_name", lambda row, _: row["share_network_name"] or row["share_network_id"]
    ),
    field("is_auto_deletable", since="2.49"),
    field("identifier", lambda row, _: row["identifier"] or row["id"], since="2.49"),
    field("share_network_subnet_id", since="2.51", until="2.69"),
    field(
        "share_network_subnet_ids",
        lambda row, _: [row["share_network_subnet_id"]] if row["share_network_subnet_id"] else [],
        since="2.70",
    ),
    field("network_allocation_update_support", lambda row, _: False, since="2.70"),
    field("task_state", lambda row, _: None, since="2.57"),
    field("source_share_server_id", lambda row, _: None, since="2.57"),
    field("security_service_update_support", lambda row, _: False, since="2.63"),
)
BRIEF = View(*_BRIEF)
DETAIL = View(*_BRIEF, field("created_at"), field("backend_details"))

FILTERS = Filters(
    filter_by("id"),
    filter_by("project_id"),
    filter_by("host"),
    filter_by("status", read=status_of(ServerStatus)),
    filter_by("share_network"),
    filter_by("share_network_id"),
    filter_by("share_network_name"),
    filter_by("identifier", since="2.49"),
    filter_by("share_network_subnet_id", since="2.51"),
    # Atoll migrates no share servers, so none passes this filter.
    nothing_has("source_share_server_id", since="2.57"),
    nothing_has("task_state", since="2.57"),
)


class Status(msgspec.Struct):
    """The state that an administrator puts the row into."""

    status: str


@routes.get("/share-servers", policy="share_server:index")
def index(call: Call) -> Body:
    """All share servers."""
    page = call.page(("id", "created_at", "updated_at", "host", "status"), descending=False)
    with call.database.read() as connection:
        rows = share_servers.find(connection, FILTERS.equal(call))
    if FILTERS.exclude_all(call):
        rows = []
    found, more = paging.cut(rows, page, lambda row: (row[page.sort_key] or "", row["id"]))
    answer = {"share_servers": call.shape(BRIEF).many(found)}
    if more:
        url = f"{call.base_url}/v2/share-servers"
        answer["share_servers_links"] = paging.link(url, call.request.params, found[-1]["id"])
    return answer


@routes.get(_PATH, policy="share_server:show")
def show(call: Call, server_id: str) -> Body:
    """One share server."""
    with call.database.read() as connection:
        return {
            "share_server": call.shape(DETAIL).one(share_servers.require(connection, server_id))
        }


@routes.get(f"{_PATH}/details", policy="share_server:details")
def details(call: Call, server_id: str) -> Body:
    """What the back end knows of it."""
    with call.database.read() as connection:
        return {"details": share_servers.require(connection, server_id)["backend_details"]}


@routes.delete(_PATH, policy="share_server:delete")
def delete(call: Call, server_id: str) -> None:
    """Take a share server away; not while shares are on it."""
    with call.database.begin() as connection:
        subnet_id = share_servers.require(connection, server_id)["share_network_subnet_id"]
        if subnet_id is not None:
            # New shares are placed under this lock: none can come between count and mark.
            subnets.lock(connection, subnet_id)
        _check_unused(connection, server_id)
        share_servers.change(connection, server_id, status=ServerStatus.DELETING)
        enqueue(connection, server_key(server_id), request_id=call.request_id)


def _check_unused(connection: Connection, server_id: str) -> None:
    """Raises ``Forbidden`` by the server's state, or ``Conflict`` while it has shares."""
    now = share_servers.require(connection, server_id)["status"]
    if now not in DELETABLE_SERVERS:
        raise Forbidden(
            f"Share server {server_id} is {now.shown}; it can be deleted when it is "
            f"{', '.join(DELETABLE_SERVERS)}."
        )
    count = placement.count_shares(connection, server_id)
    if count:
        raise Conflict(f"Share server {server_id} is in use by {count} share(s).")


@routes.action(_PATH, "reset_status", policy="share_server:reset_status", since="2.49")
def reset_status(call: Call, server_id: str, body: Status) -> None:
    """Put the row into another state; nothing else happens."""
    if body.status not in ServerStatus.settable():
        raise Invalid(f"The status must be one of {', '.join(ServerStatus.settable())}.")
    with call.database.begin() as connection:
        share_servers.require(connection, server_id)
        share_servers.change(connection, server_id, status=ServerStatus(body.status).by_hand)
