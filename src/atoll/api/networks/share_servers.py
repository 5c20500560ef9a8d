"""Share servers, one service instance each: ``/share-servers``, for administrators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection

from atoll.api.frame import paging, policy
from atoll.api.frame.call import Call
from atoll.api.frame.filters import Filters, Query, filter_by, nothing_has, status_of
from atoll.api.frame.paging import Page
from atoll.api.frame.resource import Deletion, Listing, Resetting, Resource
from atoll.api.frame.routing import Body
from atoll.api.frame.views import View, constant, field, reported, shown_status
from atoll.db import placement, share_servers, subnets
from atoll.engine.queue import enqueue
from atoll.errors import Conflict, Forbidden
from atoll.model.features import REPORTED
from atoll.model.keys import server_key
from atoll.model.records import ShareServer
from atoll.model.states import DELETABLE_SERVERS, ServerStatus


def _network_name(row: ShareServer, _: Any) -> str | None:
    return row["share_network_name"] or row["share_network_id"]


def _identifier(row: ShareServer, _: Any) -> str:
    return row["identifier"] or row["id"]


def _subnet_ids(row: ShareServer, _: Any) -> list[str]:
    return [row["share_network_subnet_id"]] if row["share_network_subnet_id"] else []


_BRIEF = (
    field("id"),
    field("project_id"),
    field("status", shown_status, kind=ServerStatus),
    field("host"),
    field("updated_at"),
    field("share_network_id"),
    field("share_network_name", _network_name),
    field("is_auto_deletable", since="2.49"),
    field("identifier", _identifier, since="2.49"),
    field("share_network_subnet_id", since="2.51", until="2.69"),
    field("share_network_subnet_ids", _subnet_ids, since="2.70"),
    reported("network_allocation_update_support", since="2.70"),
    constant("task_state", None, since="2.57"),
    constant("source_share_server_id", None, since="2.57"),
    reported("security_service_update_support", since="2.63"),
)
BRIEF = View(ShareServer, *_BRIEF, called="ShareServerSummary")
DETAIL = View(ShareServer, *_BRIEF, field("created_at"), field("backend_details"))

_SUPPORT: Final = ("network_allocation_update_support", "security_service_update_support")
"""Fields that are the same for all servers: what the driver reports."""

FILTERS = Filters(
    (ShareServer, "share_network", *_SUPPORT),
    filter_by("id"),
    filter_by("project_id"),
    filter_by("host"),
    filter_by("status", read=status_of(ServerStatus)),
    filter_by("share_network"),
    filter_by("share_network_id"),
    filter_by("share_network_name"),
    filter_by("created_at"),
    filter_by("updated_at"),
    filter_by("identifier", since="2.49"),
    filter_by("is_auto_deletable", since="2.49", read=paging.boolean),
    filter_by("share_network_subnet_id", since="2.51"),
    filter_by("share_network_subnet_ids", "share_network_subnet_id", since="2.70"),
    filter_by("network_allocation_update_support", since="2.70", read=paging.boolean),
    filter_by("security_service_update_support", since="2.63", read=paging.boolean),
    # Atoll migrates no share servers, so none passes this filter.
    nothing_has("source_share_server_id", since="2.57"),
    nothing_has("task_state", since="2.57"),
)


def _find(
    call: Call, connection: Connection, query: Query, page: Page
) -> tuple[Sequence[ShareServer], bool]:
    equal = dict(query.equal)
    supported = all(equal.pop(name) == REPORTED[name] for name in _SUPPORT if name in equal)
    rows = share_servers.find(connection, equal) if supported and not query.is_empty else []

    def position(row: ShareServer) -> tuple[str, str]:
        return str(dict(row)[page.sort_key] or ""), row["id"]

    return paging.cut(rows, page, position)


def _get(call: Call, connection: Connection, server_id: str) -> ShareServer:
    return share_servers.require(connection, server_id)


def _lock(call: Call, connection: Connection, server_id: str) -> ShareServer:
    """The share server, on whose subnet no share is placed until the transaction ends."""
    subnet_id = share_servers.require(connection, server_id)["share_network_subnet_id"]
    if subnet_id is not None:
        # New shares are placed under this lock: none can come between count and mark.
        subnets.lock(connection, subnet_id)
    return share_servers.require(connection, server_id)


def _want_deleted(call: Call, connection: Connection, row: ShareServer) -> None:
    """Request the deletion; not while shares are on it, or another server uses its instance."""
    if row["stands_in_for"]:
        raise Conflict(
            f"The instance of share server {row['id']} stands in for that of share server "
            f"{row['stands_in_for']}. It is removed with that one."
        )
    count = placement.count_shares(connection, row["id"])
    if count:
        raise Conflict(f"Share server {row['id']} is in use by {count} share(s).")
    share_servers.change(connection, row["id"], status=ServerStatus.DELETING)
    enqueue(connection, server_key(row["id"]), request_id=call.request_id)


SERVERS: Final = Resource[ShareServer](
    name="share_server",
    plural="share_servers",
    path="/share-servers/{server_id}",
    show_rule="share_server:show",
    readers=policy.OVERSEER,
    members=policy.ADMIN,
    view=DETAIL,
    get=_get,
    lock=_lock,
    change=share_servers.change,
    listing=Listing(
        rules=("share_server:index", "share_server:index"),
        find=_find,
        sort_keys=("id", "created_at", "updated_at", "host", "status"),
        filters=FILTERS,
        brief=BRIEF,
        detailed=False,
        newest_first=False,
    ),
    deletion=Deletion(
        rule="share_server:delete",
        begin=_want_deleted,
        statuses=DELETABLE_SERVERS,
        refusal=Forbidden,
        sentence="Share server {id} is {status}; it can be deleted when it is {statuses}.",
    ),
    resetting=Resetting(
        rule="share_server:reset_status",
        statuses=ServerStatus.by_shown(),
        since="2.49",
    ),
)
routes = SERVERS.routes()
RULES = SERVERS.rules(overseer=("share_server:details",))


@routes.get(
    f"{SERVERS.path}/details",
    policy="share_server:details",
    answers={"details": dict[str, Any]},
)
def details(call: Call, server_id: str) -> Body:
    """What the back end knows of it."""
    with call.database.read() as connection:
        return {"details": share_servers.require(connection, server_id)["backend_details"]}
