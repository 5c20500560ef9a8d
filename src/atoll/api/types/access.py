"""Which projects may use a private share type."""

from __future__ import annotations

from typing import Annotated, TypedDict

import msgspec
from sqlalchemy import Connection

from atoll.api.frame import bodies
from atoll.api.frame.answers import Kind
from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.db import projects, share_types
from atoll.errors import Conflict, Invalid, NotFound
from atoll.model.records import ShareType

RULES = rules(
    overseer=("share_type:list_project_access",),
    admin=("share_type:add_project_access", "share_type:remove_project_access"),
)
routes = Routes()

_PATH = "/types/{type_id}"


class Access(msgspec.Struct):
    """The project that gets or loses access."""

    project: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}" + bodies.END)]


class Opened(TypedDict):
    """A project that a type is open to."""

    share_type_id: str
    project_id: str


_LIST: Kind = {"share_type_access": list[Opened]}


@routes.get(f"{_PATH}/os-share-type-access", policy="share_type:list_project_access", answers=_LIST)
@routes.get(f"{_PATH}/share_type_access", policy="share_type:list_project_access", answers=_LIST)
def index(call: Call, type_id: str) -> Body:
    """The projects that a private type is open to."""
    with call.database.read() as connection:
        if share_types.require(connection, type_id)["is_public"]:
            raise NotFound("Access list not available for public share types.")
        projects = share_types.projects_with_access(connection, type_id)
    return {
        "share_type_access": [
            {"share_type_id": type_id, "project_id": project} for project in projects
        ]
    }


@routes.action(_PATH, "addProjectAccess", policy="share_type:add_project_access", since="2.0")
def add(call: Call, type_id: str, body: Access) -> None:
    """Open a private type to a project."""
    with call.database.begin() as connection:
        _must_be_private(share_types.require(connection, type_id, for_update=True))
        share_types.add_access(connection, type_id, _project(call, connection, body.project))


@routes.action(_PATH, "removeProjectAccess", policy="share_type:remove_project_access", since="2.0")
def remove(call: Call, type_id: str, body: Access) -> None:
    """Close a private type to a project; its shares stay as they are."""
    with call.database.begin() as connection:
        _must_be_private(share_types.require(connection, type_id, for_update=True))
        share_types.remove_access(connection, type_id, _project(call, connection, body.project))


def _project(call: Call, connection: Connection, name_or_id: str) -> str:
    """The project's id; where we keep the projects ourselves, it must be one of them."""
    if call.settings.api.auth_strategy != "token":
        return name_or_id
    try:
        return str(projects.find(connection, name_or_id)["id"])
    except NotFound as error:
        raise Invalid(str(error)) from None


def _must_be_private(row: ShareType) -> None:
    if row["is_public"]:
        raise Conflict("Type access modification is not applicable to a public share type.")
