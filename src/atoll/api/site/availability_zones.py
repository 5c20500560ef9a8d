"""Availability zones: where services run."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Connection

from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.views import View, field
from atoll.db import services
from atoll.errors import Invalid
from atoll.model.records import Zone

RULES = rules(reader=("availability_zone:index",))
routes = Routes()


def _id(row: Zone, _: Any) -> str:
    """A zone is only a name, and clients want an id that stays."""
    return str(uuid5(NAMESPACE_URL, f"atoll:zone:{row['name']}"))


VIEW = View(
    Zone,
    field("id", _id),
    field("name"),
    field("created_at"),
    field("updated_at"),
)


@routes.get(
    "/availability-zones",
    policy="availability_zone:index",
    legacy="/os-availability-zone",
    answers={"availability_zones": [VIEW]},
)
def index(call: Call) -> Body:
    """All zones."""
    with call.database.read() as connection:
        return {"availability_zones": call.shape(VIEW).many(zones(call, connection))}


def zones(call: Call, connection: Connection) -> list[Zone]:
    """The zones of all services, and the one that new services would be in."""
    found = services.zones(connection)
    configured = call.settings.driver.storage_availability_zone
    if not any(row["name"] == configured for row in found):
        found.append({"name": configured, "created_at": None, "updated_at": None})
    return found


def chosen_zone(call: Call, connection: Connection, name: str | None) -> str | None:
    """The zone of this name; without a name, None, which is any zone. Raises ``Invalid``."""
    if not name:
        return None
    known = [row["name"] for row in zones(call, connection)]
    if name not in known:
        raise Invalid(
            f"The provided availability zone {name} does not exist.",
            hint=f"There are: {', '.join(sorted(known))}.",
        )
    return name
