"""Projects, where there is no Keystone: the look-ups that ``openstack --project`` makes.

The paths and bodies are those of the Identity API v3, at the same endpoint.
"""

from __future__ import annotations

from typing import Any

from atoll.api.frame import paging
from atoll.api.frame.answers import EMPTY, QueryString, parameter
from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.views import View, constant, field
from atoll.db import projects
from atoll.errors import NotFound
from atoll.model.records import Project

RULES = rules(reader=("project:get", "project:get_all"))
routes = Routes()

_DOMAIN = "default"


def _description(row: Project, _: Call) -> str:
    return row["description"] or ""


def _links(row: Project, call: Call) -> dict[str, str]:
    return {"self": f"{call.base_url}/v2/projects/{row['id']}"}


VIEW = View(
    Project,
    field("id"),
    field("name"),
    field("description", _description),
    constant("enabled", True),
    constant("is_domain", False),
    constant("domain_id", _DOMAIN),
    constant("parent_id", _DOMAIN),
    field("tags", lambda row, _: [], kind=EMPTY),
    field("options", lambda row, _: {}, kind=dict[str, str]),
    field("links", _links),
)


def _visible(call: Call) -> list[Project]:
    """All projects to an administrator, else the caller's own, even if it was never registered."""
    with call.database.read() as connection:
        found = projects.every(connection)
    if not any(row["id"] == call.project_id for row in found):
        found.append({"id": call.project_id, "name": call.project_id, "description": None})
    return [row for row in found if call.is_admin or row["id"] == call.project_id]


@routes.get(
    "/projects",
    policy="project:get_all",
    query=QueryString(more=(parameter("name"),)),
    answers={"projects": [VIEW], "links": dict[str, str | None]},
)
def index(call: Call) -> Body:
    """The projects that the caller may know of, by ``name`` if given."""
    name = paging.one(call.request.params, "name")
    rows = [row for row in _visible(call) if name in (None, row["name"])]
    links: dict[str, Any] = {"self": f"{call.base_url}/v2/projects", "next": None, "previous": None}
    return {"projects": call.shape(VIEW).many(rows, call), "links": links}


@routes.get("/projects/{project_id}", policy="project:get", answers={"project": VIEW})
def show(call: Call, project_id: str) -> Body:
    """One project."""
    for row in _visible(call):
        if row["id"] == project_id:
            return {"project": call.shape(VIEW).one(row, call)}
    raise NotFound(f"Could not find project: {project_id[:64]}.")
