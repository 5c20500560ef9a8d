"""One declaration of a resource, which yields the routes that most resources have.

    NETWORKS = Resource[ShareNetwork](
        name="share_network",
        plural="share_networks",
        path="/share-networks/{network_id}",
        …
    )
    routes, RULES = NETWORKS.routes(), NETWORKS.rules(member=("share_network:create",))

The declaration says how records are found, read, locked and changed, how they look, and which
policy rules hold. From this come the lists in brief and in detail with their pages, count and link,
the route of one record, its deletion (also by force), ``reset_status`` and the metadata's routes. A
module adds to ``routes`` what is special to its resource.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from sqlalchemy import Connection

from atoll.api.frame import paging, policy, versions
from atoll.api.frame.answers import Kind, Parameter, QueryString, listed
from atoll.api.frame.call import Call, OwnedT
from atoll.api.frame.filters import Filters, Query
from atoll.api.frame.metadata import Metadata, MetadataOf
from atoll.api.frame.paging import Page
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.views import View
from atoll.errors import AtollError, Invalid

R = TypeVar("R", bound=Mapping[str, Any])
Fetch = Callable[[Call, Connection, str], R]

_COUNT_SINCE = "2.42"


class Reset(msgspec.Struct):
    """The status that a resource is to show."""

    status: Annotated[str, msgspec.Meta(max_length=64)]


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[R]):
    """The lists of a resource. ``rules`` are those of the list in brief and in detail."""

    rules: tuple[str, str]
    find: Callable[[Call, Connection, Query, Page], tuple[Sequence[R], bool]]
    """A page of the records that the caller may see, and whether there are more."""
    sort_keys: Iterable[str]
    filters: Filters
    brief: View
    detailed: bool = True
    """Whether there is a list in detail besides the list in brief."""
    newest_first: bool = True
    links_key: str = ""
    """The key of the link to the next page; ``<plural>_links`` unless it is given."""
    parameters: tuple[Parameter, ...] = ()
    """Of the query string, besides filters and pages."""
    count: Callable[[Call, Connection, Query], int] | None = None
    """How many records there are on all pages, for ``with_count`` (since 2.42)."""


@dataclass(frozen=True, kw_only=True)
class Deletion(Generic[R]):
    """``DELETE``, and the action ``force_delete`` if it has a rule."""

    rule: str
    begin: Callable[[Call, Connection, R], None]
    """Requests the deletion, or raises what prevents it."""
    statuses: Sequence[str] = ()
    """The statuses in which the resource may be deleted. If there are none, it may be in all."""
    refusal: type[AtollError] = Invalid
    sentence: str = ""
    """What is answered in another status; with ``{id}``, ``{status}`` and ``{statuses}``."""
    success: int = 202
    force_rule: str = ""
    force: Callable[[Call, Connection, R], None] | None = None
    """As ``begin``, where ``force_delete`` is refused with another error."""

    def check(self, row: R) -> None:
        """Raise the refusal unless the record's status allows its deletion."""
        if self.statuses and row["status"] not in self.statuses:
            raise self.refusal(
                self.sentence.format(
                    id=row["id"], status=row["status"].shown, statuses=", ".join(self.statuses)
                )
            )


@dataclass(frozen=True, kw_only=True)
class Resetting(Generic[R]):
    """The action ``reset_status``, for administrators."""

    rule: str
    statuses: Mapping[str, Any]
    """What may be set, with the status that is stored for it."""
    store: Callable[[Call, Connection, R, Any], object] | None = None
    """Stores the status, where it is not only written to the row."""
    since: str = "2.7"
    legacy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Items:
    """The metadata: policy rules, and since when its routes exist."""

    since: str
    read: str
    update: str
    delete: str


def owned(noun: str, read: Callable[[Connection, str], OwnedT | None]) -> Fetch[OwnedT]:
    """How the record of a project is read: not for those who may not see it."""

    def fetch(call: Call, connection: Connection, row_id: str) -> OwnedT:
        return call.visible(read(connection, row_id), noun, row_id)

    return fetch


def _call_alone(call: Call, connection: Connection, rows: Sequence[Any]) -> Any:
    return call


@dataclass(frozen=True, kw_only=True)
class Resource(Generic[R]):
    """One kind of resource."""

    name: str
    """The key of one in a body: ``share_network``."""
    plural: str
    """The key of many in a body."""
    path: str
    """The path of one: ``/share-networks/{network_id}``."""
    show_rule: str
    view: View
    """All fields, as one record and the list in detail have them."""
    get: Fetch[R]
    """The record, if the caller may see it; raises ``NotFound``."""
    lock: Fetch[R]
    """The record, locked until the transaction ends, if the caller may change it."""
    listing: Listing[R]
    change: Callable[..., object] | None = None
    """``change(connection, id, **columns)`` writes columns of the row: status, metadata."""
    since: str = "2.0"
    scope: Callable[[Call, Connection, Sequence[R]], Any] = _call_alone
    """What the view needs besides the records; for the list in brief it is given none."""
    deletion: Deletion[R] | None = None
    resetting: Resetting[R] | None = None
    metadata: Items | None = None
    readers: str = policy.READER
    """The default role of those who may list and show."""
    members: str = policy.MEMBER
    """The default role of those who may delete, and change metadata."""

    def rules(self, **more: Iterable[str]) -> policy.Rules:
        """The policy rules of the declared routes, and those of the module's own by role."""
        found = dict.fromkeys((*self.listing.rules, self.show_rule), self.readers)
        if self.deletion is not None:
            found[self.deletion.rule] = self.members
            if self.deletion.force_rule:
                found[self.deletion.force_rule] = policy.ADMIN
        if self.resetting is not None:
            found[self.resetting.rule] = policy.ADMIN
        if self.metadata is not None:
            found[self.metadata.read] = self.readers
            found |= dict.fromkeys((self.metadata.update, self.metadata.delete), self.members)
        return {**found, **policy.rules(**more)}

    def routes(self) -> Routes:
        """The routes of all that is declared."""
        routes = Routes()
        self._declare_reading(routes)
        one = self.path
        if (deletion := self.deletion) is not None:
            routes.delete(one, policy=deletion.rule, status=deletion.success, since=self.since)(
                self._delete
            )
            if deletion.force_rule:
                routes.action(
                    one, "force_delete", policy=deletion.force_rule, legacy="os-force_delete"
                )(self._force_delete)
        if (resetting := self.resetting) is not None:
            routes.action(
                one,
                "reset_status",
                policy=resetting.rule,
                since=resetting.since,
                legacy=resetting.legacy,
            )(self._reset_status)
        if (items := self.metadata) is not None:
            MetadataOf(self.get, self.lock, self._store_metadata).declare(
                routes,
                one,
                items.since,
                read=items.read,
                update=items.update,
                delete=items.delete,
            )
        return routes

    def _declare_reading(self, routes: Routes) -> None:
        brief_rule, detail_rule = self.listing.rules
        routes.get(
            self._all,
            policy=brief_rule,
            since=self.since,
            query=self._query,
            answers=self._many(self.listing.brief),
        )(self._list_in_brief)
        if self.listing.detailed:
            routes.get(
                f"{self._all}/detail",
                policy=detail_rule,
                since=self.since,
                query=self._query,
                answers=self._many(self.view),
            )(self._list_in_detail)
        routes.get(self.path, policy=self.show_rule, since=self.since, answers=self.one)(self._show)

    @property
    def one(self) -> Kind:
        """What an answer with one record is."""
        return {self.name: self.view}

    def _many(self, view: View) -> Kind:
        count_since = _COUNT_SINCE if self.listing.count is not None else None
        return listed(self.plural, view, links=self.listing.links_key, count_since=count_since)

    @property
    def _query(self) -> QueryString:
        listing = self.listing
        return QueryString(listing.filters, tuple(listing.sort_keys), listing.parameters)

    @property
    def _all(self) -> str:
        return self.path.rpartition("/")[0]

    def shown(self, call: Call, connection: Connection, row: R) -> Body:
        """The answer with one record."""
        scope = self.scope(call, connection, [row])
        return {self.name: call.shape(self.view).one(row, scope)}

    def _list_in_brief(self, call: Call) -> Body:
        """The resources that the caller may see, in brief."""
        return self._list(call, self.listing.brief, self._all)

    def _list_in_detail(self, call: Call) -> Body:
        """The resources that the caller may see."""
        return self._list(call, self.view, f"{self._all}/detail")

    def _list(self, call: Call, view: View, path: str) -> Body:
        listing, params = self.listing, call.request.params
        page = call.page(listing.sort_keys, descending=listing.newest_first)
        query = listing.filters.query(call)
        answer: dict[str, Any] = {}
        with call.database.read() as connection:
            found, more = listing.find(call, connection, query, page)
            if listing.count is not None and _wants_count(call):
                answer["count"] = listing.count(call, connection, query)
            scope = self.scope(call, connection, found if view is self.view else ())
        answer[self.plural] = call.shape(view).many(found, scope)
        if more:
            key = listing.links_key or f"{self.plural}_links"
            answer[key] = paging.link(f"{call.base_url}/v2{path}", params, found[-1]["id"])
        return answer

    def _show(self, call: Call, resource_id: str) -> Body:
        """One resource."""
        with call.database.read() as connection:
            return self.shown(call, connection, self.get(call, connection, resource_id))

    def _delete(self, call: Call, resource_id: str) -> None:
        """Request the deletion."""
        assert self.deletion is not None
        with call.database.begin() as connection:
            row = self.lock(call, connection, resource_id)
            self.deletion.check(row)
            self.deletion.begin(call, connection, row)

    def _force_delete(self, call: Call, resource_id: str) -> None:
        """Request the deletion whatever the status is."""
        assert self.deletion is not None
        with call.database.begin() as connection:
            row = self.lock(call, connection, resource_id)
            (self.deletion.force or self.deletion.begin)(call, connection, row)

    def _reset_status(self, call: Call, resource_id: str, body: Reset) -> None:
        """Set the status by hand."""
        assert self.resetting is not None
        status = self.resetting.statuses.get(body.status)
        if status is None:
            raise Invalid(f"Invalid state. Valid states: {', '.join(self.resetting.statuses)}.")
        with call.database.begin() as connection:
            row = self.lock(call, connection, resource_id)
            if self.resetting.store is not None:
                self.resetting.store(call, connection, row, status)
            else:
                assert self.change is not None
                self.change(connection, row["id"], status=status)

    def _store_metadata(self, connection: Connection, row_id: str, metadata: Metadata) -> None:
        assert self.change is not None
        self.change(connection, row_id, metadata=metadata)


def _wants_count(call: Call) -> bool:
    exists = call.version >= versions.minor(_COUNT_SINCE)
    return exists and paging.boolean(call.request.params, "with_count")


def whose(call: Call) -> str | None:
    """The project whose things are listed; None for all, which only who sees all may ask for.

    A token without a project has nothing of its own to list, so it asks for all.
    """
    params = call.request.params
    if not call.sees_all:
        return call.project_id
    if paging.is_set(params, "all_tenants") or paging.is_set(params, "all_projects"):
        return paging.one(params, "project_id")
    return paging.one(params, "project_id") or call.identity.project_id or None
