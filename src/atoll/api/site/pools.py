"""Pools, where shares' volumes come from, with true capacity: ``/scheduler-stats/pools``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypedDict

from sqlalchemy import Connection

from atoll import capabilities
from atoll.api.frame import paging
from atoll.api.frame.answers import QueryString, parameter
from atoll.api.frame.call import Call
from atoll.api.frame.filters import Filters, filter_by, mapping
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.versions import minor
from atoll.api.frame.views import View, field
from atoll.db import services, share_types
from atoll.errors import Invalid, NotFound

RULES = rules(overseer=("scheduler_stats:pools:index", "scheduler_stats:pools:detail"))
routes = Routes()


class Pool(TypedDict):
    """What is known of a pool."""

    name: str
    host: str
    backend: str
    pool: str
    capabilities: dict[str, Any]


_BRIEF = (field("name"), field("host"), field("backend"), field("pool"))
BRIEF = View(Pool, *_BRIEF, called="PoolSummary")
DETAIL = View(Pool, *_BRIEF, field("capabilities"))
FILTERS = Filters(Pool, *(filter_by(name) for name in ("name", "host", "backend", "pool")))
QUERY = QueryString(
    FILTERS, more=(parameter("capabilities"), parameter("share_type", since="2.23"))
)
_LONGEST_PATTERN = 255
_BRANCHING = re.compile(r"[*+?{|]")
_REPEATED_GROUP = re.compile(r"\)[*+?{]")
_MOST_BRANCHES = 3
"""With so few, and no repeated group, a pattern is compared in a short time with any name."""
_SHARE_TYPE_SINCE = minor("2.23")


@routes.get(
    "/scheduler-stats/pools",
    policy="scheduler_stats:pools:index",
    query=QUERY,
    answers={"pools": [BRIEF]},
)
def index(call: Call) -> Body:
    """The pools of the services that are up and in use."""
    return {"pools": call.shape(BRIEF).many(_find(call))}


@routes.get(
    "/scheduler-stats/pools/detail",
    policy="scheduler_stats:pools:detail",
    query=QUERY,
    answers={"pools": [DETAIL]},
)
def detail(call: Call) -> Body:
    """The same with their capabilities."""
    return {"pools": call.shape(DETAIL).many(_find(call))}


def _find(call: Call) -> list[dict[str, Any]]:
    params = call.request.params
    patterns = {name: _pattern(name, value) for name, value in FILTERS.query(call).equal.items()}
    wanted = {name: str(value) for name, value in mapping(params, "capabilities").items()}
    with call.database.read() as connection:
        if call.version >= _SHARE_TYPE_SINCE:
            wanted |= _of_share_type(call, connection, paging.one(params, "share_type"))
        rows = services.every(connection, call.database.now(connection))
    return [
        pool
        for row in rows
        if row["state"] == "up" and not row["disabled"]
        for pool in map(_shown, row["pools"])
        if all(pattern.match(pool[name]) for name, pattern in patterns.items())
        and not capabilities.unmet(pool["capabilities"], wanted)
    ]


def _shown(pool: Mapping[str, Any]) -> dict[str, Any]:
    """A pool's name is ``<controller>@<back end>#<pool>``."""
    service, _, name = pool["name"].partition("#")
    host, _, backend = service.partition("@")
    return {**pool, "host": host, "backend": backend, "pool": name}


def _pattern(name: str, text: str | None) -> re.Pattern[str]:
    """Filters are regular expressions of a beginning. Raises ``Invalid``, also for costly ones."""
    pattern = (text or "")[:_LONGEST_PATTERN]
    branches = len(_BRANCHING.findall(pattern))
    if branches > _MOST_BRANCHES or _REPEATED_GROUP.search(pattern):
        raise Invalid(
            f"The parameter {name} is too complex a regular expression: it may have "
            f"{_MOST_BRANCHES} of the characters * + ? {{ and |, and may not repeat a group."
        )
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, FutureWarning):  # the last where warnings are errors
        raise Invalid(f"The parameter {name} is no regular expression.") from None


def _of_share_type(call: Call, connection: Connection, name_or_id: str | None) -> dict[str, str]:
    """What a share type asks of a pool: its extra specs."""
    if name_or_id is None:
        return {}
    try:
        specs: dict[str, str] = share_types.find(connection, name_or_id)["extra_specs"]
    except NotFound as error:
        raise Invalid(str(error)) from None
    return specs
