"""Quotas of a project, of a user in it, or of a share type in it: ``/quota-sets/{project}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from atoll.api.frame import paging
from atoll.api.frame.answers import QueryString, parameter
from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.versions import minor
from atoll.api.quotas import view as quota_view
from atoll.api.quotas.body import Limits, Wanted
from atoll.api.quotas.view import DETAILED, SHOWN, UPDATED
from atoll.db import database, quotas, share_types
from atoll.db.quotas import UNLIMITED, Scope
from atoll.errors import Invalid

RULES = rules(reader=("quota_set:show",), admin=("quota_set:update", "quota_set:delete"))
routes = Routes()

_OLD = "/os-quota-sets/{project_id}"
_PATH = "/quota-sets/{project_id}"
_QUERY = QueryString(
    more=(parameter("user_id"), parameter("share_type", since=quota_view.SHARE_TYPES_SINCE))
)
_LONGEST_OWNER = 64
_NO_DETAIL: Mapping[str, int] = {"limit": 0, "in_use": 0, "reserved": 0}


def _scope(call: Call, connection: Connection, project_id: str) -> Scope:
    """Whose quotas the URL and its ``user_id`` or ``share_type`` mean."""
    call.enforce({"project_id": project_id, "user_id": None})
    user = paging.one(call.request.params, "user_id") or ""
    name = paging.one(call.request.params, "share_type")
    if user and name:
        raise Invalid("The parameters user_id and share_type exclude each other.")
    if max(len(project_id), len(user)) > _LONGEST_OWNER:
        raise Invalid(f"The id of a project or user has at most {_LONGEST_OWNER} characters.")
    if not name:
        return Scope(project_id, user_id=user)
    if call.version < minor(quota_view.SHARE_TYPES_SINCE):
        raise Invalid("Quotas of share types need API version 2.39 or later.")
    # A type that the caller may not use is answered as one that does not exist.
    found = share_types.find(connection, name, call.own_project)
    return Scope(project_id, share_type_id=found["id"])


def _shown(call: Call, scope: Scope, values: Mapping[str, Any], absent: Any = 0) -> dict[str, Any]:
    view = quota_view.OF_SHARE_TYPE if scope.share_type_id else quota_view.OF_PROJECT
    return call.shape(view).one(values, absent)


def _defaults(call: Call) -> Mapping[str, int]:
    limits: Mapping[str, int] = call.settings.quota.limits()
    return limits


@routes.get(_PATH, policy="quota_set:show", legacy=_OLD, query=_QUERY, answers=SHOWN)
def show(call: Call, project_id: str) -> Body:
    """The limits that hold; -1 means none."""
    with call.database.read() as connection:
        scope = _scope(call, connection, project_id)
        limits = quotas.limits(connection, scope, _defaults(call))
    return {"quota_set": {"id": project_id, **_shown(call, scope, limits)}}


@routes.get(
    f"{_PATH}/detail", policy="quota_set:show", since="2.25", query=_QUERY, answers=DETAILED
)
def detail(call: Call, project_id: str) -> Body:
    """Limits with what is in use."""
    with call.database.read() as connection:
        scope = _scope(call, connection, project_id)
        limits = quotas.limits(connection, scope, _defaults(call))
        both = quota_view.detail(limits, quotas.usage(connection, scope))
    return {"quota_set": {"id": project_id, **_shown(call, scope, both, _NO_DETAIL)}}


@routes.get(f"{_PATH}/defaults", policy="quota_set:show", legacy=f"{_OLD}/defaults", answers=SHOWN)
def defaults(call: Call, project_id: str) -> Body:
    """What holds for a project that was given no limits of its own."""
    with call.database.read() as connection:
        limits = quotas.class_limits(connection, quotas.DEFAULT_CLASS, _defaults(call))
    return {"quota_set": {"id": project_id, **_shown(call, Scope(project_id), limits)}}


@routes.put(
    _PATH,
    policy="quota_set:update",
    envelope="quota_set",
    legacy=_OLD,
    query=_QUERY,
    answers=UPDATED,
    takes=Wanted,
)
def update(call: Call, project_id: str, body: dict[str, Any]) -> Body:
    """Set limits. ``force`` allows less than what is in use."""
    new = Limits.of(body, call.version)
    if new.is_empty:
        raise Invalid("Must supply at least one quota field to update.")
    with call.database.begin() as connection:
        scope = _scope(call, connection, project_id)
        database.project_lock(connection, project_id)
        if scope.share_type_id and "share_networks" in new.limits:
            raise Invalid("share_networks can't be limited for a share type.")
        if not new.force:
            _check(connection, scope, new.limits, _defaults(call))
        quotas.set_limits(connection, scope, new.limits)
        limits = quotas.limits(connection, scope, _defaults(call))
    return {"quota_set": _shown(call, scope, limits)}


def _check(
    connection: Connection, scope: Scope, new: Mapping[str, int], defaults: Mapping[str, int]
) -> None:
    """Raises ``Invalid`` for a limit below what is in use, or above the project's own.

    The limit that is set at present is always accepted.
    """
    used = quotas.usage(connection, scope, only=new)
    project = quotas.limits(connection, Scope(scope.project_id), defaults)
    holds = quotas.limits(connection, scope, defaults)
    for name, limit in new.items():
        if limit == holds[name]:
            continue
        if UNLIMITED != limit < used[name]:
            raise Invalid(
                f"Quota value {limit} for {name} is smaller than the {used[name]} in use.",
                hint="Set 'force' to set it all the same.",
            )
        highest = project[name]
        is_within = highest == UNLIMITED or UNLIMITED != limit <= highest
        if scope != Scope(scope.project_id) and not is_within:
            raise Invalid(
                f"Quota value {limit} for {name} is larger than the project's, {highest}."
            )


@routes.delete(_PATH, policy="quota_set:delete", legacy=_OLD, query=_QUERY)
def delete(call: Call, project_id: str) -> None:
    """Go back to the defaults; a project's users and share types as well."""
    with call.database.begin() as connection:
        quotas.reset(connection, _scope(call, connection, project_id))
