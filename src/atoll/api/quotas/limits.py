"""What the caller's project may have and has: ``/limits``."""

from __future__ import annotations

from atoll.api.frame.answers import EMPTY
from atoll.api.frame.call import Call
from atoll.api.frame.routing import Body, Routes
from atoll.api.quotas.view import ABSOLUTE
from atoll.db import quotas

routes = Routes()


@routes.get("/limits", policy=None, answers={"limits": {"rate": EMPTY, "absolute": ABSOLUTE}})
def index(call: Call) -> Body:
    """Limits and usage; requests have no rate limits."""
    scope = quotas.Scope(call.project_id)
    with call.database.read() as connection:
        limits = quotas.limits(connection, scope, call.settings.quota.limits())
        used = quotas.usage(connection, scope)
    return {"limits": {"rate": [], "absolute": call.shape(ABSOLUTE).one(limits, used)}}
