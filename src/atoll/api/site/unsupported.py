"""What Manila's API has and Atoll has not: empty lists, and refusals that say so.

Clients list these collections while they look at other things, and there is truly nothing in them.
"""

from __future__ import annotations

from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.errors import Invalid, NotFound

routes = Routes()
RULES = rules(reader=("unsupported:list",), member=("unsupported:create",))

_COLLECTIONS = (
    ("/share-replicas", "share_replicas", "Replication", "2.11"),
    ("/share-groups", "share_groups", "Share groups", "2.31"),
    ("/share-group-snapshots", "share_group_snapshots", "Share groups", "2.31"),
    ("/share-group-types", "share_group_types", "Share groups", "2.31"),
)


def _declare(path: str, key: str, feature: str, since: str) -> None:
    def index(call: Call) -> Body:
        return {key: []}

    def show(call: Call, resource_id: str) -> Body:
        raise NotFound(f"{resource_id[:64]} could not be found.")

    def create(call: Call) -> Body:
        raise Invalid(f"{feature}: this is not supported here.")

    routes.get(path, policy="unsupported:list", since=since)(index)
    routes.get(f"{path}/detail", policy="unsupported:list", since=since)(index)
    routes.get(f"{path}/{{resource_id}}", policy="unsupported:list", since=since)(show)
    routes.post(path, policy="unsupported:create", since=since)(create)


for _collection in _COLLECTIONS:
    _declare(*_collection)
