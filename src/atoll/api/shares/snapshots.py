"""Snapshots: list, show, create, update, delete, reset their status."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import uuid4

from sqlalchemy import Connection

from atoll.api.frame import bodies, paging
from atoll.api.frame.answers import OF_EVERYBODY, parameter
from atoll.api.frame.call import Call
from atoll.api.frame.filters import TEXTS, Filters, Query, filter_by, mapping, number, status_of
from atoll.api.frame.metadata import Metadata, check_size
from atoll.api.frame.paging import Link, Page, Params
from atoll.api.frame.resource import Deletion, Items, Listing, Resetting, Resource, owned, whose
from atoll.api.frame.routing import Body
from atoll.api.frame.texts import ChangedTexts, NewTexts
from atoll.api.frame.views import View, field, shown_status
from atoll.api.shares.shares import own as own_share
from atoll.capabilities import is_true
from atoll.db import quotas, share_types, shares, snapshots
from atoll.engine.queue import enqueue
from atoll.errors import Conflict, Invalid, Unprocessable
from atoll.model.keys import snapshot_key
from atoll.model.records import Snapshot
from atoll.model.states import DELETABLE_SNAPSHOTS, ShareStatus, SnapshotStatus


def _usage(params: Params, name: str) -> str:
    """``used``, which is to say that shares were made of it, or ``unused``. Raises ``Invalid``."""
    word = paging.one(params, name) or ""
    if word not in ("used", "unused"):
        raise Invalid(f"The parameter {name} must be used or unused, not {word[:40]!r}.")
    return word


FILTERS: Final = Filters(
    (Snapshot, "usage"),
    *TEXTS,
    filter_by("status", read=status_of(SnapshotStatus)),
    filter_by("share_id"),
    filter_by("size", read=number),
    filter_by("user_id"),
    filter_by("share_proto"),
    filter_by("share_size", read=number),
    filter_by("usage", read=_usage),
)
_SINCE_METADATA: Final = 73


def _links(row: Snapshot, call: Call) -> list[Link]:
    return call.links(f"snapshots/{row['id']}")


SUMMARY = View(
    Snapshot, field("id"), field("name"), field("links", _links), called="SnapshotSummary"
)
DETAIL = View(
    Snapshot,
    field("id"),
    field("share_id"),
    field("share_size"),
    field("created_at"),
    field("status", shown_status, kind=SnapshotStatus),
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


def _find(
    call: Call, connection: Connection, query: Query, page: Page
) -> tuple[list[Snapshot], bool]:
    with_metadata = call.version >= _SINCE_METADATA
    wanted = mapping(call.request.params, "metadata") if with_metadata else {}
    equal = dict(query.equal)
    usage = equal.pop("usage", None)
    conditions = [
        *snapshots.in_project(whose(call)),
        *([] if usage is None else [snapshots.used(usage == "used")]),
        *snapshots.conditions(equal, query.like, wanted),
    ]
    return snapshots.find(connection, conditions, page)


_own = owned("Snapshot", snapshots.lock)


def _want_deleted(call: Call, connection: Connection, row: Snapshot) -> None:
    copy = snapshots.being_copied(connection, row["id"])
    if copy is not None:
        raise Conflict(f"Share {copy} is just being made from this snapshot.")
    snapshots.change(connection, row["id"], status=SnapshotStatus.DELETING)
    enqueue(connection, snapshot_key(row["id"]), request_id=call.request_id)


SNAPSHOTS: Final = Resource[Snapshot](
    name="snapshot",
    plural="snapshots",
    path="/snapshots/{snapshot_id}",
    show_rule="share_snapshot:get_snapshot",
    view=DETAIL,
    get=owned("Snapshot", snapshots.get),
    lock=_own,
    change=snapshots.change,
    listing=Listing(
        rules=("share_snapshot:get_all_snapshots", "share_snapshot:get_all_snapshots"),
        find=_find,
        sort_keys=snapshots.SORTABLE,
        filters=FILTERS,
        brief=SUMMARY,
        links_key="share_snapshots_links",
        parameters=(*OF_EVERYBODY, parameter("metadata", since="2.73")),
    ),
    deletion=Deletion(
        rule="share:delete_snapshot",
        begin=_want_deleted,
        statuses=DELETABLE_SNAPSHOTS,
        sentence="Invalid snapshot: its status must be one of {statuses}, and is {status}.",
        force_rule="share_snapshot:force_delete",
    ),
    resetting=Resetting(
        rule="share_snapshot:reset_status",
        statuses=SnapshotStatus.by_shown(),
        legacy="os-reset_status",
    ),
    metadata=Items(
        since="2.73",
        read="share_snapshot:get_metadata",
        update="share_snapshot:update_metadata",
        delete="share_snapshot:delete_metadata",
    ),
)
routes = SNAPSHOTS.routes()
RULES = SNAPSHOTS.rules(member=("share:create_snapshot", "share:snapshot_update"))


class Create(NewTexts, kw_only=True):
    """A snapshot as it is asked for."""

    share_id: bodies.Id
    force: bool | None = False
    metadata: Annotated[Metadata | None, bodies.since("2.73")] = None


@routes.post(
    "/snapshots",
    policy="share:create_snapshot",
    envelope="snapshot",
    status=202,
    answers=SNAPSHOTS.one,
)
def create(call: Call, body: Create) -> Body:
    """Write the snapshot down as ``creating`` and ask for it to be taken."""
    texts, metadata = body.texts(), body.metadata or {}
    check_size({}, metadata)
    with call.database.begin() as connection:
        share = own_share(call, connection, body.share_id)
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
            "name": texts["name"],
            "description": texts["description"],
            "id": str(uuid4()),
            "project_id": share["project_id"],
            "user_id": call.user_id,
            "share_id": share["id"],
            "share_size": size,
            "size": size,
            "share_proto": share["share_proto"],
            "status": SnapshotStatus.CREATING,
            "progress": "0%",
            "metadata": metadata,
        }
        row = snapshots.add(connection, **values)
        enqueue(connection, snapshot_key(row["id"]), request_id=call.request_id)
        return SNAPSHOTS.shown(call, connection, row)


@routes.put(
    SNAPSHOTS.path,
    policy="share:snapshot_update",
    envelope="snapshot",
    answers=SNAPSHOTS.one,
)
def update(call: Call, snapshot_id: str, body: ChangedTexts) -> Body:
    """Change name or description."""
    changes = body.texts()
    with call.database.begin() as connection:
        _own(call, connection, snapshot_id)
        if changes:
            snapshots.change(connection, snapshot_id, **changes)
        return SNAPSHOTS.shown(call, connection, _own(call, connection, snapshot_id))
