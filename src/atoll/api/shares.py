"""Shares: list, show, create, update, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from atoll.api import paging
from atoll.api.call import Call
from atoll.api.filters import Filters, filter_by, flag, mapping
from atoll.api.policy import rules
from atoll.api.routing import Body, Routes
from atoll.api.share_view import DETAIL, LAST_WITH_LOCATIONS, SUMMARY, Scope
from atoll.api.views import View
from atoll.db import export_locations, pages, shares
from atoll.db.tables import shares as table

routes = Routes()
RULES = rules(
    reader=("share:get", "share:get_all", "share:list_by_share_server_id"),
    member=("share:create", "share:update", "share:delete"),
    admin=("share:create_public_share", "share:set_public_share", "share:list_by_host"),
)

FILTERS: Final = Filters(
    filter_by("name"),
    filter_by("display_name", "name"),
    filter_by("description", since="2.36"),
    filter_by("status"),
    filter_by("host", admin=True),
    filter_by("share_server_id", admin=True),
    filter_by("share_type_id"),
    filter_by("volume_type_id", "share_type_id"),
    filter_by("snapshot_id"),
    filter_by("share_network_id"),
    filter_by("is_public", read=flag),
    filter_by("name~", since="2.36"),
    filter_by("description~", since="2.36"),
)
_SINCE_LOCATION: Final = 35
_SINCE_COUNT: Final = 42


@routes.get("/shares", policy="share:get_all")
def index(call: Call) -> Body:
    """The caller's shares, in brief."""
    return _list(call, SUMMARY, "/v2/shares")


@routes.get("/shares/detail", policy="share:get_all")
def detail(call: Call) -> Body:
    """The caller's shares."""
    return _list(call, DETAIL, "/v2/shares/detail")


@routes.get("/shares/{share_id}", policy="share:get")
def show(call: Call, share_id: str) -> Body:
    """One share; also another project's, if it is public."""
    with call.database.read() as connection:
        row = shares.get(connection, share_id)
        if row is None or not row["is_public"]:
            call.visible(row, "Share", share_id)
        assert row is not None
        return {"share": call.shape(DETAIL).one(row, scope_of(call, connection, [row]))}


def scope_of(call: Call, connection: Connection, found: Sequence[Mapping[str, Any]]) -> Scope:
    """What the view of these shares needs."""
    locations: Mapping[str, list[str]] = {}
    if call.version <= LAST_WITH_LOCATIONS:
        locations = export_locations.paths(
            connection, [row["id"] for row in found], with_admin_only=call.is_admin
        )
    return Scope(call, shares.types(connection), locations)


def _list(call: Call, view: View, path: str) -> Body:
    params = call.request.params
    page = call.page(shares.SORTABLE)
    conditions = [
        *shares.in_project(_whose(call), with_public=paging.boolean(params, "is_public")),
        *pages.equal(table, FILTERS.equal(call)),
        *pages.like(table, FILTERS.like(call)),
        *pages.has_metadata(table, mapping(params, "metadata")),
    ]
    if call.version >= _SINCE_LOCATION:
        location_id = paging.one(params, "export_location_id")
        location_path = paging.one(params, "export_location_path")
        conditions += shares.at_location(location_id, location_path)
    answer: dict[str, Any] = {}
    with call.database.read() as connection:
        found, more = shares.find(connection, conditions, page)
        if call.version >= _SINCE_COUNT and paging.boolean(params, "with_count"):
            answer["count"] = pages.count(connection, table, conditions)
        scope = scope_of(call, connection, found if view is DETAIL else ())
    answer["shares"] = call.shape(view).many(found, scope)
    if more:
        answer["shares_links"] = paging.link(call.base_url + path, params, found[-1]["id"])
    return answer


def _whose(call: Call) -> str | None:
    """The project whose shares are listed; None for all, which only administrators may ask for."""
    params = call.request.params
    if call.is_admin:
        if paging.boolean(params, "all_tenants") or paging.boolean(params, "all_projects"):
            return paging.one(params, "project_id")
        return paging.one(params, "project_id") or call.project_id
    return call.project_id
