"""Metadata of a resource: list, merge, replace, and single keys; the same for each resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from sqlalchemy import Connection

from atoll.api.frame.answers import Kind
from atoll.api.frame.call import Call
from atoll.api.frame.routing import Body, Routes
from atoll.errors import Forbidden, Invalid, NotFound

Metadata = dict[
    Annotated[str, msgspec.Meta(min_length=1, max_length=255)],
    Annotated[str, msgspec.Meta(min_length=1, max_length=1023)],
]

ADMIN_ONLY: Final = frozenset({"__affinity_same_host", "__affinity_different_host"})
"""Keys that are the scheduler's; users can't set, change or remove them (2.68)."""

LARGEST_COUNT: Final = 128
LARGEST_BYTES: Final = 65_536
"""The most keys that a resource may have, and the most bytes (UTF-8) of keys and values."""

Fetch = Callable[[Call, Connection, str], Mapping[str, Any]]
Store = Callable[[Connection, str, dict[str, str]], None]


class Wanted(msgspec.Struct):
    """``{"metadata": {…}}``"""

    metadata: Metadata


class WantedItem(msgspec.Struct):
    """``{"metadata": {key: value}}``, or ``meta`` as in old Manila."""

    metadata: Metadata | None = None
    meta: Metadata | None = None


@dataclass(frozen=True, slots=True)
class MetadataOf:
    """The metadata sub-resource of one kind of resource.

    ``fetch`` gives the row or raises (``fetch_own`` also locks it, for changing), ``store`` writes
    the new metadata.
    """

    fetch: Fetch
    fetch_own: Fetch
    store: Store

    def declare(
        self, routes: Routes, path: str, since: str, *, read: str, update: str, delete: str
    ) -> None:
        """Add the routes below ``path``; ``read``, ``update``, ``delete`` are policy rules."""
        answers: Kind = {"metadata": Metadata}
        all_of_it, item = f"{path}/metadata", f"{path}/metadata/{{key}}"
        routes.get(all_of_it, policy=read, since=since, answers=answers)(self.index)
        routes.post(all_of_it, policy=update, since=since, answers=answers)(self.merge)
        routes.put(all_of_it, policy=update, since=since, answers=answers)(self.replace)
        routes.get(item, policy=read, since=since, answers={"meta": Metadata})(self.show)
        routes.post(item, policy=update, since=since, answers=answers)(self.set_item)
        routes.put(item, policy=update, since=since, answers=answers)(self.set_item)
        routes.delete(item, policy=delete, since=since, status=200)(self.remove)

    def index(self, call: Call, resource_id: str) -> Body:
        """All keys."""
        with call.database.read() as connection:
            return {"metadata": self.fetch(call, connection, resource_id)["metadata"]}

    def show(self, call: Call, resource_id: str, key: str) -> Body:
        """One key."""
        with call.database.read() as connection:
            metadata = self.fetch(call, connection, resource_id)["metadata"]
        return {"meta": {key: _value(metadata, key)}}

    def merge(self, call: Call, resource_id: str, body: Wanted) -> Body:
        """Add keys, change those that are there."""
        return self._change(call, resource_id, lambda old: {**old, **body.metadata})

    def replace(self, call: Call, resource_id: str, body: Wanted) -> Body:
        """These keys and no others; those that only administrators may touch stay."""

        def change(old: Mapping[str, str]) -> dict[str, str]:
            kept = {key: value for key, value in old.items() if key in ADMIN_ONLY}
            return {**({} if call.is_admin else kept), **body.metadata}

        return self._change(call, resource_id, change)

    def set_item(self, call: Call, resource_id: str, key: str, body: WantedItem) -> Body:
        """Set one key, which must be the one in the path."""
        wanted = body.metadata or body.meta or {}
        if list(wanted) != [key]:
            raise Invalid("The request body must hold exactly the key that the path names.")
        self._change(call, resource_id, lambda old: {**old, **wanted})
        return {"metadata": wanted}

    def remove(self, call: Call, resource_id: str, key: str) -> Body:
        """Remove one key."""

        def change(old: Mapping[str, str]) -> dict[str, str]:
            _value(old, key)
            return {name: value for name, value in old.items() if name != key}

        self._change(call, resource_id, change)
        return None

    def _change(
        self, call: Call, resource_id: str, change: Callable[[Mapping[str, str]], Metadata]
    ) -> Body:
        with call.database.begin() as connection:
            row = self.fetch_own(call, connection, resource_id)
            metadata = change(row["metadata"])
            guard(call, row["metadata"], metadata)
            check_size(row["metadata"], metadata)
            self.store(connection, resource_id, metadata)
        return {"metadata": metadata}


def _value(metadata: Mapping[str, str], key: str) -> str:
    if key not in metadata:
        raise NotFound(f"There is no metadata with the key {key[:64]}.")
    return metadata[key]


def guard(call: Call, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Raise ``Forbidden`` if a user would change a key that only administrators may change."""
    if not call.is_admin and any(old.get(key) != new.get(key) for key in ADMIN_ONLY):
        raise Forbidden("Cannot set or update admin only metadata.")


def check_size(old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Raise ``Invalid`` if metadata would grow beyond the limits of a resource.

    Call it in the transaction that locks and writes the row. Metadata that is above the limits
    already may shrink.
    """
    if len(new) > max(LARGEST_COUNT, len(old)):
        raise Invalid(f"A resource can have at most {LARGEST_COUNT} metadata items.")
    if _bytes(new) > max(LARGEST_BYTES, _bytes(old)):
        raise Invalid(f"A resource's metadata can have at most {LARGEST_BYTES} bytes.")


def _bytes(metadata: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
