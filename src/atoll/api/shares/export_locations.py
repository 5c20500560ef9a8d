"""Export locations: what clients mount."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from atoll.api.frame.answers import EMPTY
from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.views import View, field
from atoll.api.shares.shares import visible
from atoll.db import export_locations, snapshots
from atoll.errors import NotFound
from atoll.model.records import ExportLocation

routes = Routes()
RULES = rules(
    reader=(
        "share_export_location:index",
        "share_export_location:show",
        "share_snapshot_export_location:index",
    )
)

LOCATIONS: Final = "/shares/{share_id}/export_locations"

LISTED = View(
    ExportLocation,
    field("id"),
    field("path"),
    field("preferred", since="2.14"),
    # A share has one instance, and it goes by the share's id.
    field("share_instance_id", "share_id", admin=True),
    field("is_admin_only", admin=True),
    called="ListedExportLocation",
)
SHOWN = View(ExportLocation, *LISTED.fields, field("created_at"), field("updated_at"))


@routes.get(
    LOCATIONS,
    policy="share_export_location:index",
    since="2.9",
    answers={"export_locations": [LISTED]},
)
def index(call: Call, share_id: str) -> Body:
    """A share's export locations, the preferred one first."""
    with call.database.read() as connection:
        found = _of_share(call, connection, share_id)
    return {"export_locations": call.shape(LISTED).many(found)}


@routes.get(
    f"{LOCATIONS}/{{location_id}}",
    policy="share_export_location:show",
    since="2.9",
    answers={"export_location": SHOWN},
)
def show(call: Call, share_id: str, location_id: str) -> Body:
    """One export location."""
    with call.database.read() as connection:
        found = _of_share(call, connection, share_id)
    for location in found:
        if location["id"] == location_id:
            return {"export_location": call.shape(SHOWN).one(location)}
    raise NotFound(f"Export location {location_id[:64]} could not be found.")


@routes.get(
    "/snapshots/{snapshot_id}/export-locations",
    policy="share_snapshot_export_location:index",
    since="2.32",
    answers={"share_snapshot_export_locations": EMPTY},
)
def index_of_snapshot(call: Call, snapshot_id: str) -> Body:
    """A snapshot's: none, it can't be mounted. Clients ask whenever they show a snapshot."""
    with call.database.read() as connection:
        call.visible(snapshots.get(connection, snapshot_id), "Snapshot", snapshot_id)
    return {"share_snapshot_export_locations": []}


def _of_share(call: Call, connection: Connection, share_id: str) -> list[ExportLocation]:
    visible(call, connection, share_id)
    return export_locations.of_share(connection, share_id, with_admin_only=call.sees_all)
