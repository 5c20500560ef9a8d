"""What Manila's API has and Atoll has not: empty lists, and refusals that say so.

Clients list these collections while they look at other things, and there is truly nothing in them.
"""

from __future__ import annotations

from typing import NoReturn

from atoll.api.frame.answers import EMPTY
from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Options, Routes
from atoll.errors import NotFound
from atoll.model import features

routes = Routes()
RULES = rules(reader=("unsupported:list",), member=("unsupported:create",))

_COLLECTIONS = (
    ("/share-replicas", "share_replicas", features.REPLICATION, "2.11", "2.56"),
    ("/share-groups", "share_groups", features.SHARE_GROUPS, "2.31", "2.55"),
    ("/share-group-snapshots", "share_group_snapshots", features.SHARE_GROUPS, "2.31", "2.55"),
    ("/share-group-types", "share_group_types", features.SHARE_GROUPS, "2.31", "2.55"),
)
"""Paths with what they are the collections of, since when, and since when not experimental."""


def _declare(path: str, key: str, feature: features.Feature, since: str, stable: str) -> None:
    def index(call: Call) -> Body:
        return {key: []}

    def show(call: Call, resource_id: str) -> NoReturn:
        raise NotFound(f"{resource_id[:64]} could not be found.")

    def create(call: Call) -> Body:
        feature.check()
        return None

    there: Options = {"since": since, "stable": stable}
    empty: Options = {**there, "answers": {key: EMPTY}}
    refused: Options = {**there, "needs": feature}
    routes.get(path, policy="unsupported:list", **empty)(index)
    routes.get(f"{path}/detail", policy="unsupported:list", **empty)(index)
    routes.get(f"{path}/{{resource_id}}", policy="unsupported:list", **there)(show)
    routes.post(path, policy="unsupported:create", **refused)(create)


for _collection in _COLLECTIONS:
    _declare(*_collection)
