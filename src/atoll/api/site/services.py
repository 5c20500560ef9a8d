"""Services, the processes of this deployment: ``/services``, for administrators."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

import msgspec

from atoll.api.frame import bodies
from atoll.api.frame.answers import OneOf, QueryString
from atoll.api.frame.call import Call
from atoll.api.frame.filters import Filters, filter_by
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.views import View, field
from atoll.db import services
from atoll.model.records import Service

RULES = rules(overseer=("service:index",), admin=("service:update",))
routes = Routes()


def _status(row: Service, _: Call) -> str:
    return "disabled" if row["disabled"] else "enabled"


VIEW = View(
    Service,
    field("id"),
    field("binary"),
    field("host"),
    field("zone"),
    field(
        "status",
        _status,
        kind=OneOf(("enabled", "disabled")),
    ),
    field("state"),
    field("updated_at"),
)
FILTERS = Filters(
    (Service, "status"),
    *(filter_by(name) for name in ("host", "binary", "zone", "state", "status")),
)

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Which(msgspec.Struct):
    """A service is known by its program and its host."""

    host: _Text
    binary: _Text


class WhichToDisable(Which):
    """A service that is to get no new shares."""

    disabled_reason: Annotated[
        Any, bodies.since("2.83", refusal="A disabled_reason needs API version 2.83 or later.")
    ] = None


class Changed(TypedDict):
    """What is said of a service that was enabled or disabled."""

    host: str
    binary: str
    disabled: bool
    status: Literal["enabled", "disabled"]


@routes.get(
    "/services",
    policy="service:index",
    legacy="/os-services",
    query=QueryString(FILTERS),
    answers={"services": [VIEW]},
)
def index(call: Call) -> Body:
    """All services, up or down by their heartbeats."""
    wanted = FILTERS.query(call).equal
    with call.database.read() as connection:
        rows = services.every(connection, call.database.now(connection))
    shown = call.shape(VIEW).many(rows)
    found = [row for row in shown if all(row[name] == value for name, value in wanted.items())]
    return {"services": found}


@routes.put(
    "/services/enable",
    policy="service:update",
    legacy="/os-services/enable",
    answers=Changed,
)
def enable(call: Call, body: Which) -> Body:
    """Let a service take new shares again."""
    return _set(call, body, disabled=False)


@routes.put(
    "/services/disable",
    policy="service:update",
    legacy="/os-services/disable",
    answers=Changed,
)
def disable(call: Call, body: WhichToDisable) -> Body:
    """Give a service no new shares; those that it has go on."""
    return _set(call, body, disabled=True)


def _set(call: Call, which: Which, *, disabled: bool) -> Body:
    with call.database.begin() as connection:
        services.set_disabled(connection, which.binary, which.host, disabled=disabled)
    status = "disabled" if disabled else "enabled"
    return {"host": which.host, "binary": which.binary, "disabled": disabled, "status": status}
