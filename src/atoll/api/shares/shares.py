"""Shares: list, show, update, delete, reset their status, and their metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, false

from atoll.api.frame import paging
from atoll.api.frame.answers import OF_EVERYBODY, parameter
from atoll.api.frame.call import Call
from atoll.api.frame.filters import (
    TEXTS,
    Filters,
    Query,
    filter_by,
    mapping,
    nothing_has,
    status_of,
)
from atoll.api.frame.paging import Page
from atoll.api.frame.resource import Deletion, Items, Listing, Resetting, Resource, owned, whose
from atoll.api.frame.routing import Body
from atoll.api.frame.texts import ChangedTexts
from atoll.api.shares.view import DETAIL, LAST_WITH_LOCATIONS, SUMMARY, Scope
from atoll.api.types import extra_specs
from atoll.db import export_locations, operations, shares
from atoll.engine.queue import enqueue
from atoll.errors import Forbidden, Invalid
from atoll.model.keys import share_key
from atoll.model.records import Share
from atoll.model.states import DELETABLE_SHARES, ShareStatus

FILTERS: Final = Filters(
    Share,
    *TEXTS,
    filter_by("status", read=status_of(ShareStatus)),
    filter_by("user_id"),
    filter_by("host", rule="share:list_by_host"),
    filter_by("share_server_id", rule="share:list_by_share_server_id"),
    filter_by("share_type_id"),
    filter_by("volume_type_id", "share_type_id"),
    filter_by("snapshot_id"),
    filter_by("share_network_id"),
    filter_by("share_proto"),
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
_SINCE_RECYCLE_BIN: Final = 69


def _conditions(call: Call, connection: Connection, query: Query) -> list[ColumnElement[bool]]:
    params = call.request.params
    # is_public is no filter: it adds everybody's public shares to the caller's own.
    conditions = [
        *shares.in_project(whose(call), with_public=paging.boolean(params, "is_public")),
        *shares.conditions(query.equal, query.like, mapping(params, "metadata")),
    ]
    if call.version >= _SINCE_LOCATION:
        location_id = paging.one(params, "export_location_id")
        location_path = paging.one(params, "export_location_path")
        conditions += shares.at_location(location_id, location_path)
    in_bin = call.version >= _SINCE_RECYCLE_BIN and paging.boolean(params, "is_soft_deleted")
    if in_bin or query.is_empty:
        conditions.append(false())  # there is no recycle bin, so nothing is in it
    if wanted := mapping(params, "extra_specs"):
        conditions.append(shares.of_types(_types_with(call, connection, wanted)))
    return conditions


def _find(call: Call, connection: Connection, query: Query, page: Page) -> tuple[list[Share], bool]:
    return shares.find(connection, _conditions(call, connection, query), page)


def _count(call: Call, connection: Connection, query: Query) -> int:
    return shares.count(connection, _conditions(call, connection, query))


def _types_with(call: Call, connection: Connection, wanted: Mapping[str, str]) -> list[str]:
    """Ids of the share types with these extra specs, of those specs that the caller may see."""
    call.enforce(rule="share_types_extra_spec:index")
    return [
        type_id
        for type_id, (_, specs) in shares.types(connection).items()
        if extra_specs.match(specs if call.sees_all else extra_specs.visible(specs), wanted)
    ]


def visible(call: Call, connection: Connection, share_id: str) -> Share:
    """The share, if the caller may see it: their project's, or a public one."""
    row = shares.get(connection, share_id)
    if row is not None and row["is_public"]:
        return row
    return call.visible(row, "Share", share_id)


own = owned("Share", shares.lock)
"""The share, locked for changing it, if it is the caller's project's."""


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


def want_deleted(call: Call, connection: Connection, row: Share) -> None:
    """Mark the share ``deleting`` and ask for it. ``Forbidden`` while it has snapshots."""
    count = shares.count_snapshots(connection, row["id"])
    if count:
        raise Forbidden(f"Invalid share: Share still has {count} dependent snapshots.")
    shares.change(connection, row["id"], status=ShareStatus.DELETING)
    enqueue(connection, share_key(row["id"]), request_id=call.request_id)


def _want_deleted_by_force(call: Call, connection: Connection, row: Share) -> None:
    try:
        want_deleted(call, connection, row)
    except Forbidden as error:
        # Manila answers 403 when a share is deleted, and 400 when it is by force.
        raise Invalid(error.message, hint=error.hint) from None


def _set_status(call: Call, connection: Connection, row: Share, status: ShareStatus) -> None:
    """Only a status at rest (``available``) causes a check of the share."""
    # An extension that is running may have grown the volume already: charge it until it ends.
    is_growing = operations.is_busy(connection, share_key(row["id"]))
    wanted_size = row["wanted_size"] if is_growing else None
    shares.change(connection, row["id"], status=status, wanted_size=wanted_size)
    enqueue(connection, share_key(row["id"]), request_id=call.request_id)


SHARES: Final = Resource[Share](
    name="share",
    plural="shares",
    path="/shares/{share_id}",
    show_rule="share:get",
    view=DETAIL,
    scope=scope_of,
    get=visible,
    lock=own,
    change=shares.change,
    listing=Listing(
        rules=("share:get_all", "share:get_all"),
        find=_find,
        count=_count,
        sort_keys=shares.SORTABLE,
        filters=FILTERS,
        brief=SUMMARY,
        parameters=(
            *OF_EVERYBODY,
            parameter("is_public", bool),
            parameter("metadata"),
            parameter("extra_specs"),
            parameter("export_location_id", since="2.35"),
            parameter("export_location_path", since="2.35"),
            parameter("with_count", bool, since="2.42"),
            parameter("is_soft_deleted", bool, since="2.69"),
        ),
    ),
    deletion=Deletion(
        rule="share:delete",
        begin=want_deleted,
        statuses=DELETABLE_SHARES,
        refusal=Forbidden,
        sentence="Invalid share: Share status must be one of {statuses}, and is {status}.",
        force_rule="share:force_delete",
        force=_want_deleted_by_force,
    ),
    resetting=Resetting(
        rule="share:reset_status",
        statuses=ShareStatus.by_shown(),
        store=_set_status,
        legacy="os-reset_status",
    ),
    metadata=Items(
        since="2.0",
        read="share:get_share_metadata",
        update="share:update_share_metadata",
        delete="share:delete_share_metadata",
    ),
)
routes = SHARES.routes()
RULES = SHARES.rules(
    member=("share:create", "share:update"),
    overseer=("share:list_by_host", "share:list_by_share_server_id"),
    admin=("share:create_public_share", "share:set_public_share"),
)


class Update(ChangedTexts, kw_only=True):
    """What can be changed of a share."""

    is_public: bool | msgspec.UnsetType = msgspec.UNSET


@routes.put(SHARES.path, policy="share:update", envelope="share", answers=SHARES.one)
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
        return SHARES.shown(call, connection, own(call, connection, share_id))
