"""Snapshots: list, show, create, update, delete, reset their status."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import msgspec
from sqlalchemy import Connection

from atoll.api.frame import bodies, paging
from atoll.api.frame.call import Call
from atoll.api.frame.filters import Filters, filter_by, mapping, status_of
from atoll.api.frame.metadata import Metadata, MetadataOf, check_size
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.views import View, field
from atoll.api.shares.actions import Reset
from atoll.api.shares.shares import Update, own, whose
from atoll.capabilities import is_true
from atoll.db import quotas, share_types, shares, snapshots
from atoll.engine.queue import enqueue
from atoll.errors import Conflict, Invalid, Unprocessable
from atoll.model.keys import snapshot_key
from atoll.model.records import Snapshot
from atoll.model.states import DELETABLE_SNAPSHOTS, ShareStatus, SnapshotStatus

routes = Routes()
RULES = rules(
    reader=(
        "share_snapshot:get_snapshot",
        "share_snapshot:get_all_snapshots",
        "share_snapshot:get_metadata",
    ),
    member=(
        "share:create_snapshot",
        "share:delete_snapshot",
        "share:snapshot_update",
        "share_snapshot:update_metadata",
        "share_snapshot:delete_metadata",
    ),
    admin=("share_snapshot:reset_status", "share_snapshot:force_delete"),
)

SNAPSHOT: Final = "/snapshots/{snapshot_id}"
FILTERS: Final = Filters(
    filter_by("name"),
    filter_by("display_name", "name"),
    filter_by("description", since="2.36"),
    filter_by("display_description", "description", since="2.36"),
    filter_by("status", read=status_of(SnapshotStatus)),
    filter_by("share_id"),
    filter_by("size", read=paging.integer),
    filter_by("name~", since="2.36"),
    filter_by("display_name~", "name", since="2.36"),
    filter_by("description~", since="2.36"),
    filter_by("display_description~", "description", since="2.36"),
)
_SINCE_METADATA: Final = 73


def _links(row: Snapshot, call: Call) -> list[dict[str, str]]:
    return call.links(f"snapshots/{row['id']}")


SUMMARY = View(field("id"), field("name"), field("links", _links))
DETAIL = View(
    field("id"),
    field("share_id"),
    field("share_size"),
    field("created_at"),
    field("status", lambda row, _: row["status"].shown),
    field("name"),
    field("description"),
    field("size"),
    field("share_proto"),
    field("links", _links),
    field("provider_location", since="2.12", admin=True),
    field("project_id", since="2.17"),
    field("user_id", since="2.17"),
    field("metadata", since="2.73"),
)


class Create(msgspec.Struct):
    """A snapshot as it is asked for."""

    share_id: bodies.Id
    name: bodies.Name | None = None
    display_name: bodies.Name | None = None
    description: bodies.Name | None = None
    display_description: bodies.Name | None = None
    force: bool | None = False
    metadata: Metadata | None = None


@routes.get("/snapshots", policy="share_snapshot:get_all_snapshots")
def index(call: Call) -> Body:
    """The caller's snapshots, in brief."""
    return _list(call, SUMMARY, "/v2/snapshots")


@routes.get("/snapshots/detail", policy="share_snapshot:get_all_snapshots")
def detail(call: Call) -> Body:
    """The caller's snapshots."""
    return _list(call, DETAIL, "/v2/snapshots/detail")


@routes.get(SNAPSHOT, policy="share_snapshot:get_snapshot")
def show(call: Call, snapshot_id: str) -> Body:
    """One snapshot."""
    with call.database.read() as connection:
        row = _visible(call, connection, snapshot_id)
    return {"snapshot": call.shape(DETAIL).one(row, call)}


@routes.post("/snapshots", policy="share:create_snapshot", envelope="snapshot", status=202)
def create(call: Call, body: Create) -> Body:
    """Write the snapshot down as ``creating`` and ask for it to be taken."""
    metadata = (body.metadata or {}) if call.version >= _SINCE_METADATA else {}
    check_size({}, metadata)
    with call.database.begin() as connection:
        share = own(call, connection, body.share_id)
        specs = share_types.find(connection, share["share_type_id"])["extra_specs"]
        if not is_true(specs.get("snapshot_support")):
            raise Unprocessable(
                f"Snapshots cannot be created for share '{share['id']}' since it does not have "
                "that capability."
            )
        if share["status"] != ShareStatus.AVAILABLE:
            raise Invalid(
                f"Invalid share: it must be available to take a snapshot of it, and is "
                f"{share['status'].shown}."
            )
        # A share that an administrator has set to available may still be growing.
        size = shares.charged_size(share)
        quotas.reserve(
            connection,
            share["project_id"],
            call.user_id,
            share["share_type_id"],
            snapshots=1,
            snapshot_gigabytes=size,
            defaults=call.settings.quota.limits(),
        )
        values: Snapshot = {
            "id": str(uuid4()),
            "project_id": share["project_id"],
            "user_id": call.user_id,
            "share_id": share["id"],
            "share_size": size,
            "size": size,
            "share_proto": share["share_proto"],
            "name": body.display_name if body.name is None else body.name,
            "description": (
                body.display_description if body.description is None else body.description
            ),
            "status": SnapshotStatus.CREATING,
            "progress": "0%",
            "metadata": metadata,
        }
        row = snapshots.add(connection, **values)
        enqueue(connection, snapshot_key(row["id"]), request_id=call.request_id)
    return {"snapshot": call.shape(DETAIL).one(row, call)}


@routes.put(SNAPSHOT, policy="share:snapshot_update", envelope="snapshot")
def update(call: Call, snapshot_id: str, body: Update) -> Body:
    """Change name or description."""
    with call.database.begin() as connection:
        _own(call, connection, snapshot_id)
        changes = body.texts()
        if changes:
            snapshots.change(connection, snapshot_id, **changes)
        row = _own(call, connection, snapshot_id)
    return {"snapshot": call.shape(DETAIL).one(row, call)}


@routes.delete(SNAPSHOT, policy="share:delete_snapshot")
def delete(call: Call, snapshot_id: str) -> None:
    """Want the snapshot away."""
    with call.database.begin() as connection:
        row = _own(call, connection, snapshot_id)
        if row["status"] not in DELETABLE_SNAPSHOTS:
            raise Invalid(
                f"Invalid snapshot: its status must be one of {', '.join(DELETABLE_SNAPSHOTS)}, "
                f"and is {row['status'].shown}."
            )
        _want_deleted(call, connection, snapshot_id)


@routes.action(SNAPSHOT, "force_delete", policy="share_snapshot:force_delete", old_name=True)
def force_delete(call: Call, snapshot_id: str) -> None:
    """Want the snapshot away whatever its status is."""
    with call.database.begin() as connection:
        _own(call, connection, snapshot_id)
        _want_deleted(call, connection, snapshot_id)


@routes.action(SNAPSHOT, "reset_status", policy="share_snapshot:reset_status", old_name=True)
def reset_status(call: Call, snapshot_id: str, body: Reset) -> None:
    """Set the status by hand."""
    if body.status not in SnapshotStatus.settable():
        raise Invalid(f"Invalid state. Valid states: {', '.join(SnapshotStatus.settable())}.")
    with call.database.begin() as connection:
        _own(call, connection, snapshot_id)
        snapshots.change(connection, snapshot_id, status=SnapshotStatus(body.status).by_hand)


def _want_deleted(call: Call, connection: Connection, snapshot_id: str) -> None:
    copy = snapshots.being_copied(connection, snapshot_id)
    if copy is not None:
        raise Conflict(f"Share {copy} is just being made from this snapshot.")
    snapshots.change(connection, snapshot_id, status=SnapshotStatus.DELETING)
    enqueue(connection, snapshot_key(snapshot_id), request_id=call.request_id)


def _own(call: Call, connection: Connection, snapshot_id: str) -> Snapshot:
    return call.visible(snapshots.lock(connection, snapshot_id), "Snapshot", snapshot_id)


def _visible(call: Call, connection: Connection, snapshot_id: str) -> Snapshot:
    return call.visible(snapshots.get(connection, snapshot_id), "Snapshot", snapshot_id)


def _store_metadata(connection: Connection, snapshot_id: str, metadata: Metadata) -> None:
    snapshots.change(connection, snapshot_id, metadata=metadata)


MetadataOf(_visible, _own, _store_metadata).declare(
    routes,
    SNAPSHOT,
    "2.73",
    read="share_snapshot:get_metadata",
    update="share_snapshot:update_metadata",
    delete="share_snapshot:delete_metadata",
)


def _list(call: Call, view: View, path: str) -> Body:
    page = call.page(snapshots.SORTABLE)
    since = call.version >= _SINCE_METADATA
    wanted = mapping(call.request.params, "metadata") if since else {}
    conditions = [
        *snapshots.in_project(whose(call)),
        *snapshots.conditions(FILTERS.equal(call), FILTERS.like(call), wanted),
    ]
    with call.database.read() as connection:
        found, more = snapshots.find(connection, conditions, page)
    answer: dict[str, Any] = {"snapshots": call.shape(view).many(found, call)}
    if more:
        params = call.request.params
        answer["share_snapshots_links"] = paging.link(call.base_url + path, params, found[-1]["id"])
    return answer
