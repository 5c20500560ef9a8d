"""Shares: list, show, update, delete, and their metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, false

from atoll.api.frame import bodies, paging
from atoll.api.frame.call import Call
from atoll.api.frame.filters import Filters, filter_by, mapping, nothing_has, status_of
from atoll.api.frame.metadata import MetadataOf
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.views import View
from atoll.api.shares.view import DETAIL, LAST_WITH_LOCATIONS, SUMMARY, Scope
from atoll.api.types import extra_specs
from atoll.db import export_locations, shares
from atoll.engine.queue import enqueue
from atoll.errors import Forbidden
from atoll.model.keys import share_key
from atoll.model.records import Metadata, Share, Texts
from atoll.model.states import DELETABLE_SHARES, ShareStatus

routes = Routes()
RULES = rules(
    reader=("share:get", "share:get_all", "share:get_share_metadata"),
    member=(
        "share:create",
        "share:update",
        "share:delete",
        "share:update_share_metadata",
        "share:delete_share_metadata",
    ),
    overseer=("share:list_by_host", "share:list_by_share_server_id"),
    admin=("share:create_public_share", "share:set_public_share"),
)

FILTERS: Final = Filters(
    filter_by("name"),
    filter_by("display_name", "name"),
    filter_by("description", since="2.36"),
    filter_by("display_description", "description", since="2.36"),
    filter_by("status", read=status_of(ShareStatus)),
    filter_by("user_id"),
    filter_by("host", rule="share:list_by_host"),
    filter_by("share_server_id", rule="share:list_by_share_server_id"),
    filter_by("share_type_id"),
    filter_by("volume_type_id", "share_type_id"),
    filter_by("snapshot_id"),
    filter_by("share_network_id"),
    filter_by("share_proto"),
    filter_by("name~", since="2.36"),
    filter_by("display_name~", "name", since="2.36"),
    filter_by("description~", since="2.36"),
    filter_by("display_description~", "description", since="2.36"),
    # Atoll has no groups, backups or chosen mount points, so no share passes these filters.
    nothing_has("share_group_id"),
    nothing_has("share_group_snapshot_id"),
    nothing_has("source_share_group_snapshot_id"),
    nothing_has("source_share_group_snapshot_member_id"),
    nothing_has("consistency_group_id"),
    nothing_has("source_cgsnapshot_member_id"),
    nothing_has("mount_point_name"),
)
_SINCE_LOCATION: Final = 35
_SINCE_COUNT: Final = 42
_SINCE_RECYCLE_BIN: Final = 69


class Update(msgspec.Struct):
    """What can be changed of a share; Manila says ``display_name``, some clients ``name``."""

    display_name: bodies.Name | msgspec.UnsetType | None = msgspec.UNSET
    display_description: bodies.Name | msgspec.UnsetType | None = msgspec.UNSET
    name: bodies.Name | msgspec.UnsetType | None = msgspec.UNSET
    description: bodies.Name | msgspec.UnsetType | None = msgspec.UNSET
    is_public: bool | msgspec.UnsetType = msgspec.UNSET

    def texts(self) -> Texts:
        """The new name and description, as far as they were given."""
        name = self.name if self.display_name is msgspec.UNSET else self.display_name
        description = (
            self.description
            if self.display_description is msgspec.UNSET
            else self.display_description
        )
        changes: Texts = {}
        if name is not msgspec.UNSET:
            changes["name"] = name
        if description is not msgspec.UNSET:
            changes["description"] = description
        return changes


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
        row = visible(call, connection, share_id)
        return {"share": call.shape(DETAIL).one(row, scope_of(call, connection, [row]))}


@routes.put("/shares/{share_id}", policy="share:update", envelope="share")
def update(call: Call, share_id: str, body: Update) -> Body:
    """Change name, description or who sees the share."""
    texts = body.texts()
    with call.database.begin() as connection:
        row = own(call, connection, share_id)
        public = row["is_public"] if body.is_public is msgspec.UNSET else body.is_public
        if public != row["is_public"]:
            call.enforce(row, "share:set_public_share")
        if texts or body.is_public is not msgspec.UNSET:
            shares.change(connection, share_id, **texts, is_public=public)
        row = own(call, connection, share_id)
        return {"share": call.shape(DETAIL).one(row, scope_of(call, connection, [row]))}


@routes.delete("/shares/{share_id}", policy="share:delete")
def delete(call: Call, share_id: str) -> None:
    """Want the share away."""
    with call.database.begin() as connection:
        row = own(call, connection, share_id)
        if row["status"] not in DELETABLE_SHARES:
            raise Forbidden(
                f"Invalid share: Share status must be one of {', '.join(DELETABLE_SHARES)}, "
                f"and is {row['status'].shown}."
            )
        want_deleted(call, connection, share_id)


def want_deleted(call: Call, connection: Connection, share_id: str) -> None:
    """Mark the share ``deleting`` and ask for it. ``Forbidden`` while it has snapshots."""
    count = shares.count_snapshots(connection, share_id)
    if count:
        raise Forbidden(f"Invalid share: Share still has {count} dependent snapshots.")
    shares.change(connection, share_id, status=ShareStatus.DELETING)
    enqueue(connection, share_key(share_id), request_id=call.request_id)


def visible(call: Call, connection: Connection, share_id: str) -> Share:
    """The share, if the caller may see it: their project's, or a public one."""
    row = shares.get(connection, share_id)
    if row is not None and row["is_public"]:
        return row
    return call.visible(row, "Share", share_id)


def own(call: Call, connection: Connection, share_id: str) -> Share:
    """The share, locked for changing it, if it is the caller's project's."""
    return call.visible(shares.lock(connection, share_id), "Share", share_id)


def is_own(call: Call, row: Share) -> bool:
    """Whether it is the caller's project's, or the caller sees all projects'."""
    return call.sees_all or row["project_id"] == call.project_id


def scope_of(call: Call, connection: Connection, found: Sequence[Share]) -> Scope:
    """What the view of these shares needs."""
    locations: Mapping[str, list[str]] = {}
    if call.version <= LAST_WITH_LOCATIONS:
        locations = export_locations.paths(
            connection, [row["id"] for row in found], with_admin_only=call.sees_all
        )
    return Scope(call, shares.types(connection), locations)


def _store_metadata(connection: Connection, share_id: str, metadata: Metadata) -> None:
    shares.change(connection, share_id, metadata=metadata)


MetadataOf(visible, own, _store_metadata).declare(
    routes,
    "/shares/{share_id}",
    "2.0",
    read="share:get_share_metadata",
    update="share:update_share_metadata",
    delete="share:delete_share_metadata",
)


def _list(call: Call, view: View, path: str) -> Body:
    params = call.request.params
    page = call.page(shares.SORTABLE)
    # is_public is no filter: it adds everybody's public shares to the caller's own.
    conditions = [
        *shares.in_project(whose(call), with_public=paging.boolean(params, "is_public")),
        *shares.conditions(FILTERS.equal(call), FILTERS.like(call), mapping(params, "metadata")),
    ]
    if call.version >= _SINCE_LOCATION:
        location_id = paging.one(params, "export_location_id")
        location_path = paging.one(params, "export_location_path")
        conditions += shares.at_location(location_id, location_path)
    in_bin = call.version >= _SINCE_RECYCLE_BIN and paging.boolean(params, "is_soft_deleted")
    if in_bin or FILTERS.exclude_all(call):
        conditions.append(false())  # there is no recycle bin, so nothing is in it
    answer: dict[str, Any] = {}
    with call.database.read() as connection:
        if wanted := mapping(params, "extra_specs"):
            conditions.append(shares.of_types(_types_with(call, connection, wanted)))
        found, more = shares.find(connection, conditions, page)
        if call.version >= _SINCE_COUNT and paging.boolean(params, "with_count"):
            answer["count"] = shares.count(connection, conditions)
        scope = scope_of(call, connection, found if view is DETAIL else ())
    answer["shares"] = call.shape(view).many(found, scope)
    if more:
        answer["shares_links"] = paging.link(call.base_url + path, params, found[-1]["id"])
    return answer


def _types_with(call: Call, connection: Connection, wanted: Mapping[str, str]) -> list[str]:
    """Ids of the share types with these extra specs, of those specs that the caller may see."""
    call.enforce(rule="share_types_extra_spec:index")
    return [
        type_id
        for type_id, (_, specs) in shares.types(connection).items()
        if extra_specs.match(specs if call.sees_all else extra_specs.visible(specs), wanted)
    ]


def whose(call: Call) -> str | None:
    """The project whose things are listed; None for all, which only who sees all may ask for.

    A token without a project has nothing of its own to list, so it asks for all.
    """
    params = call.request.params
    if not call.sees_all:
        return call.project_id
    if paging.is_set(params, "all_tenants") or paging.is_set(params, "all_projects"):
        return paging.one(params, "project_id")
    return paging.one(params, "project_id") or call.identity.project_id or None
