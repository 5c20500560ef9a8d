"""Limits for all projects that have none of their own: ``/quota-class-sets/default``."""

from __future__ import annotations

from typing import Any

from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.quotas.body import Limits, Wanted
from atoll.api.quotas.view import CLASS_SHOWN, CLASS_UPDATED, OF_PROJECT
from atoll.db import quotas
from atoll.errors import Invalid

RULES = rules(reader=("quota_class_set:show",), admin=("quota_class_set:update",))
routes = Routes()

_OLD = "/os-quota-class-sets/{class_name}"
_PATH = "/quota-class-sets/{class_name}"
_LONGEST = 255


@routes.get(_PATH, policy="quota_class_set:show", legacy=_OLD, answers=CLASS_SHOWN)
def show(call: Call, class_name: str) -> Body:
    """The limits of a class; only ``default`` has an effect."""
    return {"quota_class_set": {"id": class_name, **_limits(call, class_name)}}


def _limits(call: Call, class_name: str) -> dict[str, Any]:
    with call.database.read() as connection:
        limits = quotas.class_limits(connection, class_name, call.settings.quota.limits())
    return call.shape(OF_PROJECT).one(limits, 0)


@routes.put(
    _PATH,
    policy="quota_class_set:update",
    envelope="quota_class_set",
    legacy=_OLD,
    answers=CLASS_UPDATED,
    takes=Wanted,
)
def update(call: Call, class_name: str, body: dict[str, Any]) -> Body:
    """Set limits of a class. Keys that are no limits are ignored, as in Manila."""
    if len(class_name) > _LONGEST:
        raise Invalid(f"The name of a quota class has at most {_LONGEST} characters.")
    new = Limits.of(body, call.version, ignores_unknown=True)
    with call.database.begin() as connection:
        quotas.set_class_limits(connection, class_name, new.limits)
    return {"quota_class_set": _limits(call, class_name)}
