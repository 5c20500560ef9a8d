"""Share types: ``/types``. What they are made of is in ``extra_specs.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from atoll.api.frame import bodies, paging
from atoll.api.frame.answers import Kind, QueryString, parameter
from atoll.api.frame.call import Call
from atoll.api.frame.filters import mapping
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.versions import minor
from atoll.api.frame.views import View, field
from atoll.api.types import extra_specs
from atoll.db import share_types
from atoll.errors import Forbidden, Invalid, NotFound
from atoll.model.records import ShareType

RULES = rules(
    reader=(
        "share_type:index",
        "share_type:show",
        "share_type:default",
        "share_types_extra_spec:index",
        "share_types_extra_spec:show",
    ),
    admin=(
        "share_type:create",
        "share_type:update",
        "share_type:delete",
        "share_types_extra_spec:create",
        "share_types_extra_spec:update",
        "share_types_extra_spec:delete",
    ),
)
routes = Routes()

_SNAPSHOT_SUPPORT_IMPLIED = minor("2.23")
_SPEC_FILTER_SINCE = minor("2.43")


def _specs(row: ShareType, call: Call) -> Mapping[str, str]:
    specs: Mapping[str, str] = row["extra_specs"]
    return specs if call.sees_all else extra_specs.visible(specs)


def _specs_of_view(row: ShareType, call: Call) -> Mapping[str, Any]:
    """An administrator sees the specs that are set; a project sees also those that are False."""
    specs = _specs(row, call)
    if call.sees_all or call.version <= _SNAPSHOT_SUPPORT_IMPLIED:
        return specs
    return extra_specs.inferred(specs)


def _required_specs(row: ShareType, _: Call) -> dict[str, str]:
    return dict(extra_specs.required(row["extra_specs"]))


def _is_default(row: ShareType, call: Call) -> bool:
    return row["name"] == _default_name(call)


VIEW = View(
    ShareType,
    field("id"),
    field("name"),
    field("os-share-type-access:is_public", "is_public", until="2.6"),
    field("share_type_access:is_public", "is_public", since="2.7"),
    field("extra_specs", _specs_of_view, kind=dict[str, str | bool]),
    field("required_extra_specs", _required_specs),
    field("description", since="2.41"),
    field("is_default", _is_default, since="2.46"),
)
ONE: Kind = {"share_type": VIEW, "volume_type": VIEW}

TypeName = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\S")]


class CreateType(msgspec.Struct):
    """``extra_specs`` must say whether shares get share servers of their own."""

    name: TypeName
    description: Annotated[
        bodies.Name | None,
        bodies.since(
            "2.41", refusal="The description of a share type needs API version 2.41 or later."
        ),
    ] = None
    extra_specs: dict[str, Any] = {}
    is_public: bool = msgspec.field(name="share_type_access:is_public", default=True)
    is_public_old: bool | None = msgspec.field(name="os-share-type-access:is_public", default=None)


_CREATE_FIELDS = bodies.Versions.of(CreateType)


class _Enveloped(msgspec.Struct):
    """The envelope; old clients say ``volume_type``."""

    share_type: CreateType


class UpdateType(msgspec.Struct):
    """What is left out stays as it is; an empty description takes the present one away."""

    name: TypeName | None = None
    description: bodies.Name | None = None
    is_public: bool | None = msgspec.field(name="share_type_access:is_public", default=None)


class _EnvelopedUpdate(msgspec.Struct):
    """The envelope; old clients say ``volume_type``."""

    share_type: UpdateType


class Specs(msgspec.Struct):
    """Extra specs to be set."""

    extra_specs: dict[str, Any]


def _default_name(call: Call) -> str:
    return call.settings.driver.default_share_type


def _shown(call: Call, row: ShareType) -> Body:
    shown = call.shape(VIEW).one(row, call)
    return {"share_type": shown, "volume_type": shown}


@routes.get(
    "/types",
    policy="share_type:index",
    query=QueryString(more=(parameter("is_public"), parameter("extra_specs", since="2.43"))),
    answers={"share_types": [VIEW], "volume_types": [VIEW]},
)
def index(call: Call) -> Body:
    """Types that the caller may use; who sees all chooses by ``is_public`` (true unless said)."""
    is_public: bool | None = True
    if call.sees_all and (paging.one(call.request.params, "is_public") or "").lower() == "all":
        is_public = None
    elif call.sees_all:
        is_public = paging.boolean(call.request.params, "is_public", default=True)
    wanted = _wanted_specs(call)
    with call.database.read() as connection:
        rows = share_types.every(connection, call.own_project, is_public)
    rows = [row for row in rows if extra_specs.match(_specs(row, call), wanted)]
    shown = call.shape(VIEW).many(rows, call)
    return {"share_types": shown, "volume_types": shown}


def _wanted_specs(call: Call) -> Mapping[str, str]:
    """The filter ``extra_specs``."""
    text = paging.one(call.request.params, "extra_specs")
    if not text:
        return {}
    if call.version < _SPEC_FILTER_SINCE:
        raise Invalid("The filter 'extra_specs' needs API version 2.43 or later.")
    return mapping(call.request.params, "extra_specs")


@routes.get("/types/default", policy="share_type:default", answers=ONE)
def default(call: Call) -> Body:
    """The type of shares that are created without one."""
    try:
        with call.database.read() as connection:
            row = share_types.find(connection, _default_name(call), call.own_project)
    except NotFound:
        raise NotFound("Default share type not found.") from None
    return _shown(call, row)


@routes.get("/types/{type_id}", policy="share_type:show", answers=ONE)
def show(call: Call, type_id: str) -> Body:
    """One type."""
    with call.database.read() as connection:
        return _shown(call, share_types.require(connection, type_id, call.own_project))


def _unwrap(body: dict[str, Any]) -> dict[str, Any]:
    """The object inside ``share_type`` or, where that is none, ``volume_type``.

    Raises ``Invalid``: here Manila does not say 422 as elsewhere.
    """
    for envelope in ("share_type", "volume_type"):
        inside = body.get(envelope)
        if isinstance(inside, dict):
            return inside
    raise Invalid("The request body must be an object with an object 'share_type'.")


@routes.post("/types", policy="share_type:create", takes=_Enveloped, answers=ONE)
def create(call: Call, body: dict[str, Any]) -> Body:
    """Offer a new type; old clients call it a volume type."""
    inside = _CREATE_FIELDS.known(_unwrap(body), call.version)
    wish = bodies.convert(inside, CreateType)
    wanted = dict(wish.extra_specs)
    if call.version <= _SNAPSHOT_SUPPORT_IMPLIED:
        wanted.setdefault("snapshot_support", True)
    specs = extra_specs.checked(wanted, complete=True)
    is_public = wish.is_public if wish.is_public_old is None else wish.is_public_old
    with call.database.begin() as connection:
        row = share_types.create(
            connection, wish.name, specs, description=wish.description, is_public=is_public
        )
    return _shown(call, row)


@routes.put(
    "/types/{type_id}",
    policy="share_type:update",
    since="2.50",
    takes=_EnvelopedUpdate,
    answers=ONE,
)
def update(call: Call, type_id: str, body: dict[str, Any]) -> Body:
    """Change name, description or whether it is public."""
    wish = bodies.convert(_unwrap(body), UpdateType)
    new: ShareType = {}
    if wish.name is not None:
        new["name"] = wish.name
    if wish.is_public is not None:
        new["is_public"] = wish.is_public
    if wish.description is not None:
        new["description"] = wish.description or None
    if not new:
        raise Invalid("Nothing to change: give name, description or share_type_access:is_public.")
    with call.database.begin() as connection:
        share_types.require(connection, type_id)
        return _shown(call, share_types.change(connection, type_id, **new))


@routes.delete("/types/{type_id}", policy="share_type:delete")
def delete(call: Call, type_id: str) -> None:
    """Take a type away; not while shares use it."""
    with call.database.begin() as connection:
        share_types.require(connection, type_id)
        share_types.remove(connection, type_id)


@routes.get(
    "/types/{type_id}/extra_specs",
    policy="share_types_extra_spec:index",
    answers={"extra_specs": dict[str, str]},
)
def list_specs(call: Call, type_id: str) -> Body:
    """A type's extra specs."""
    with call.database.read() as connection:
        row = share_types.require(connection, type_id, call.own_project)
    return {"extra_specs": _specs(row, call)}


@routes.get(
    "/types/{type_id}/extra_specs/{key}",
    policy="share_types_extra_spec:show",
    answers=dict[str, str],
)
def show_spec(call: Call, type_id: str, key: str) -> Body:
    """One extra spec."""
    with call.database.read() as connection:
        specs = _specs(share_types.require(connection, type_id, call.own_project), call)
    if key not in specs:
        raise NotFound(f"Share type {type_id} has no extra spec {key[:255]}.")
    return {key: specs[key]}


@routes.post(
    "/types/{type_id}/extra_specs",
    policy="share_types_extra_spec:create",
    answers={"extra_specs": dict[str, str]},
)
def set_specs(call: Call, type_id: str, body: Specs) -> Body:
    """Add or replace extra specs; others stay."""
    return {"extra_specs": _set(call, type_id, body.extra_specs)}


@routes.put(
    "/types/{type_id}/extra_specs/{key}",
    policy="share_types_extra_spec:update",
    takes=dict[str, str | bool],
    answers=dict[str, str],
)
def set_spec(call: Call, type_id: str, key: str, body: dict[str, Any]) -> Body:
    """Replace one extra spec: ``{key: value}``."""
    if list(body) != [key]:
        raise Invalid(f"The request body must be an object with {key[:255]!r} as its only key.")
    return _set(call, type_id, body)


def _set(call: Call, type_id: str, wanted: Mapping[str, Any]) -> Mapping[str, str]:
    specs = extra_specs.checked(wanted, complete=False)
    with call.database.begin() as connection:
        row = share_types.require(connection, type_id, for_update=True)
        merged = {**row["extra_specs"], **specs}
        extra_specs.check_count(row["extra_specs"], merged)
        share_types.change(connection, type_id, extra_specs=merged)
    return specs


@routes.delete("/types/{type_id}/extra_specs/{key}", policy="share_types_extra_spec:delete")
def remove_spec(call: Call, type_id: str, key: str) -> None:
    """Take one extra spec away; not one that every type must have."""
    implied = call.version <= _SNAPSHOT_SUPPORT_IMPLIED and key == "snapshot_support"
    if key in extra_specs.REQUIRED or implied:
        raise Forbidden(f"Every share type must have the extra spec {key}.")
    with call.database.begin() as connection:
        specs = dict(share_types.require(connection, type_id, for_update=True)["extra_specs"])
        if specs.pop(key, None) is None:
            raise NotFound(f"Share type {type_id} has no extra spec {key[:255]}.")
        share_types.change(connection, type_id, extra_specs=specs)
