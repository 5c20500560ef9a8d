"""What a handler is given: who asks, at which microversion, and the service that it asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import falcon

from atoll.api.frame import edge
from atoll.api.frame.paging import Link, Page
from atoll.api.frame.policy import IS_ADMIN, SEES_ALL, Identity, Policy
from atoll.api.frame.views import Shape, View
from atoll.config import Settings
from atoll.db.database import Database
from atoll.errors import Forbidden, NotFound
from atoll.model.records import Owned

OwnedT = TypeVar("OwnedT", bound=Owned)


class UsersNetworks(Protocol):
    """Checks with users' own rights what they may do with the cloud's networks."""

    def check(self, token: str, project_id: str, network_id: str, subnet_id: str) -> None:
        """Raise ``Invalid`` unless the bearer's project may have ports in that subnet."""


@dataclass(frozen=True, slots=True)
class Service:
    """What all requests share."""

    settings: Settings
    database: Database
    policy: Policy
    networks: UsersNetworks | None = None
    """Checks who may use which network of the cloud; None where only the worker can check it."""


class Call:
    """One request, as a handler sees it."""

    def __init__(
        self, service: Service, request: falcon.Request, identity: Identity, version: int
    ) -> None:
        self.service = service
        self.request = request
        self.identity = identity
        self.version = version
        self.rule: str | None = None
        """The policy rule that the route declared."""

    @property
    def database(self) -> Database:
        """Where the rows are."""
        return self.service.database

    @property
    def settings(self) -> Settings:
        """What the operator chose."""
        return self.service.settings

    @property
    def project_id(self) -> str:
        """The caller's project. Raises ``Forbidden`` for a token that has none."""
        if not self.identity.project_id:
            raise Forbidden(
                "This needs a project, and your token is scoped to the system.",
                hint="Ask Keystone for a token of the project that is meant.",
            )
        return self.identity.project_id

    @property
    def user_id(self) -> str:
        """The caller."""
        return self.identity.user_id

    @property
    def is_experimental(self) -> bool:
        """Whether the client asks for what is experimental at this version."""
        return self.request.env.get("atoll.experimental") is True

    @cached_property
    def request_id(self) -> str:
        """``req-…``, as logs, operations and the response's header have it."""
        return str(self.request.env.get("atoll.request_id", ""))

    @cached_property
    def is_admin(self) -> bool:
        """Whether the caller may see and change everybody's things."""
        return self.may(IS_ADMIN)

    @cached_property
    def sees_all(self) -> bool:
        """Whether the caller may see everybody's things: administrators, readers of the system."""
        return self.may(SEES_ALL)

    @cached_property
    def base_url(self) -> str:
        """The endpoint as the client knows it, without a slash at the end."""
        return edge.base_url(self.request, self.settings.api.public_url)

    @property
    def own_project(self) -> str | None:
        """For queries: the project that they are limited to; None for who sees all."""
        return None if self.sees_all else self.project_id

    def check_network(self, network_id: str | None, subnet_id: str | None) -> None:
        """Raise ``Invalid`` unless the caller may name this network of the cloud.

        The check may take seconds, so call this outside of any transaction.
        """
        networks = self.service.networks
        if networks is not None and network_id is not None and subnet_id is not None:
            token = str(self.request.env.get("HTTP_X_AUTH_TOKEN", "")).strip()
            networks.check(token, self.project_id, network_id, subnet_id)

    def may(self, rule: str, target: Mapping[str, Any] | None = None) -> bool:
        """Whether policy allows this, on a row or in the caller's own project."""
        return self.service.policy.allows(rule, self.identity, target)

    def enforce(self, target: Mapping[str, Any] | None = None, rule: str | None = None) -> None:
        """Raise ``Forbidden`` unless policy allows the route's rule (or another) on this row.

        The route's rule was already checked for the caller's own project; call this when the row
        is at hand, so that rules which look at the owner hold.
        """
        name = rule or self.rule
        if name is not None:
            self.service.policy.enforce(name, self.identity, target)

    def visible(self, row: OwnedT | None, what: str, row_id: str) -> OwnedT:
        """The row, if it is the caller's project's (or the caller sees all).

        Raises ``NotFound`` otherwise: whether another project has such an id is not told.
        """
        if row is None or not (self.sees_all or row["project_id"] == self.project_id):
            raise NotFound(f"{what} {row_id[:64]} could not be found.")
        self.enforce(row)
        return row

    def shape(self, view: View) -> Shape:
        """The view at this request's version, with what only administrators see if they ask."""
        return view.at(self.version, self.sees_all)

    def page(self, sortable: Iterable[str], **more: Any) -> Page:
        """``limit``, ``offset``, ``marker``, ``sort_key``, ``sort_dir`` of the query string."""
        return Page.of(self.request.params, sortable, self.settings.api.osapi_max_limit, **more)

    def links(self, path: str) -> list[Link]:
        """``links`` of a resource; ``path`` like ``shares/<id>``."""
        return [
            {"rel": "self", "href": f"{self.base_url}/v2/{path}"},
            {"rel": "bookmark", "href": f"{self.base_url}/{path}"},
        ]
