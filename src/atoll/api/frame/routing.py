"""How a resource module declares its routes, and how a request reaches its handler.

    routes = Routes()

    @routes.get("/shares/{share_id}", policy="share:get")
    def show(call: Call, share_id: str) -> Body: ...

    @routes.post("/shares", policy="share:create", envelope="share")
    def create(call: Call, body: CreateShare) -> Body: ...

    @routes.action("/shares/{share_id}", "extend", policy="share:extend", until="2.63")
    def extend(call: Call, share_id: str, body: Extend) -> None: ...

``since`` and ``until`` are the microversions between which a route exists; the same method and
path may be declared once for each range. Ranges that overlap, or leave a gap between them, are an
error at start. The type of the ``body`` parameter is what the request's body is validated against;
what the path names is given by position. What a handler returns is the response's JSON; None is an
empty one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, NoReturn, TypedDict, Unpack, get_type_hints

import falcon
import msgspec

from atoll.api.frame import bodies, versions
from atoll.api.frame.answers import Described, Kind, QueryString
from atoll.api.frame.call import Call, Service
from atoll.api.frame.policy import Identity
from atoll.errors import ConfigurationError, DiskFull, Invalid, NotFound
from atoll.model.features import Feature

Body = Mapping[str, Any] | msgspec.Raw | None
Function = Callable[..., Body]
Declare = Callable[[Function], Function]

_MAKES_MORE: Final = frozenset({"extend", "allow_access", "os-extend", "os-allow_access"})
"""Actions that are refused while the disk is full; the others change what is there, or free it."""
_LAST_LEGACY: Final = "2.6"
_FIRST_RENAMED: Final = "2.7"
"""Manila renamed its paths and actions, which had the prefix ``os-``, in 2.7."""
_encoder = msgspec.json.Encoder()


class Options(TypedDict, total=False):
    """What a route may say of itself besides its method, path and policy rule.

    ``since`` and ``until`` (``"2.45"``) are the first and the last microversion; ``status`` is that
    of a success; ``envelope`` is the key that the body's object is in. An ``experimental`` route
    exists only for requests with the header ``X-OpenStack-Manila-API-Experimental: True``; with
    ``stable``, this holds below that microversion. ``legacy`` is the path, or the action's name, up
    to 2.6; then the route itself is from 2.7.

    ``answers``, ``query``, ``takes`` and ``needs`` describe the response, the query string, the
    body and what the driver must offer, for the OpenAPI document alone: the handler checks what it
    needs itself. A handler that always refuses is annotated with ``NoReturn``.
    """

    status: int
    envelope: str
    since: str
    until: str
    experimental: bool
    stable: str
    legacy: str | None
    answers: Kind
    query: QueryString
    takes: Kind
    needs: Feature


@dataclass(frozen=True, slots=True)
class Handler:
    """One method of one path (or one action) between two microversions."""

    function: Function
    policy: str | None
    status: int
    envelope: str | None
    body: Any
    since: int
    until: int
    stable: int
    """The microversion from which it is not experimental."""
    fields: bodies.Versions
    """Which fields of the body exist at which version."""
    described: Described

    def run(self, call: Call, raw: Any, params: Mapping[str, str]) -> Body:
        """Check policy, validate the body, do it."""
        call.rule = self.policy
        call.enforce()
        if self.body is None:
            return self.function(call, *params.values())
        inside = bodies.unwrap(raw, self.envelope) if self.envelope else raw
        inside = self.fields.known(inside, call.version)
        return self.function(call, *params.values(), body=bodies.convert(inside, self.body))


class Routes:
    """The routes of one resource module."""

    def __init__(self) -> None:
        self.methods: dict[str, dict[str, list[Handler]]] = {}
        """path → method → handlers"""
        self.actions: dict[str, dict[str, list[Handler]]] = {}
        """path of the resource → action name → handlers"""

    def get(self, path: str, *, policy: str | None, **options: Unpack[Options]) -> Declare:
        """Declare a GET."""
        return self.route("GET", path, policy=policy, **options)

    def post(self, path: str, *, policy: str | None, **options: Unpack[Options]) -> Declare:
        """Declare a POST."""
        return self.route("POST", path, policy=policy, **options)

    def put(self, path: str, *, policy: str | None, **options: Unpack[Options]) -> Declare:
        """Declare a PUT."""
        return self.route("PUT", path, policy=policy, **options)

    def delete(self, path: str, *, policy: str | None, **options: Unpack[Options]) -> Declare:
        """Declare a DELETE; its status is 202 unless another is given."""
        options.setdefault("status", 202)
        return self.route("DELETE", path, policy=policy, **options)

    def route(
        self, method: str, path: str, *, policy: str | None, **options: Unpack[Options]
    ) -> Declare:
        """Declare a method of a path (without ``/v2``)."""

        def declare(function: Function) -> Function:
            for where, handler in _handlers(function, path, policy, options):
                self.methods.setdefault(where, {}).setdefault(method, []).append(handler)
            return function

        return declare

    def action(self, path: str, name: str, *, policy: str, **options: Unpack[Options]) -> Declare:
        """Declare an action of ``POST {path}/action``, whose body is ``{name: {…}}``.

        Its status is 202, and it exists from 2.7, unless other ones are given.
        """
        options.setdefault("status", 202)
        options.setdefault("since", _FIRST_RENAMED)

        def declare(function: Function) -> Function:
            handlers = self.actions.setdefault(path, {})
            for called, handler in _handlers(function, name, policy, options):
                handlers.setdefault(called, []).append(replace(handler, envelope=called))
            return function

        return declare


def _handlers(
    function: Function, name: str, policy: str | None, options: Options
) -> Iterator[tuple[str, Handler]]:
    """The handlers that one declaration makes, each with its path or its action's name."""
    hints = get_type_hints(function, include_extras=True)
    body = hints.get("body")
    legacy, until = options.get("legacy"), options.get("until")
    since = options.get("since") or (_FIRST_RENAMED if legacy else "2.0")
    handler = Handler(
        function,
        policy,
        options.get("status", 200),
        options.get("envelope"),
        body,
        versions.minor(since),
        versions.minor(until) if until is not None else versions.ALWAYS,
        _stable(options),
        bodies.Versions.of(body),
        _described(hints.get("return"), options),
    )
    if legacy:
        last = versions.minor(_LAST_LEGACY)
        yield legacy, replace(handler, since=versions.LOWEST, until=last)
    yield name, handler


def _described(returned: Any, options: Options) -> Described:
    needs = options.get("needs")
    refuses = returned is NoReturn or (needs is not None and not needs.is_offered)
    return Described(options.get("answers"), options.get("query"), options.get("takes"), refuses)


def _stable(options: Options) -> int:
    if "stable" in options:
        return versions.minor(options["stable"])
    return versions.ALWAYS if options.get("experimental") else versions.LOWEST


class Table:
    """The handlers of one method of one path, by microversion.

    Raises ``ConfigurationError`` if their ranges overlap, or leave a gap between them.
    """

    def __init__(self, name: str, handlers: Iterable[Handler]) -> None:
        self._handlers = sorted(handlers, key=lambda one: one.since)
        for one, following in pairwise(self._handlers):
            if following.since <= one.until:
                raise ConfigurationError(
                    f"{name} is declared twice for API version {versions.text(following.since)}."
                )
            if following.since > one.until + 1:
                raise ConfigurationError(
                    f"{name} is not declared for API version {versions.text(one.until + 1)}, "
                    "although it is for an earlier one and a later one."
                )

    def at(self, call: Call) -> Handler:
        """The handler for a request. Raises ``NotFound``."""
        version = call.version
        handler = next((one for one in self._handlers if one.since <= version <= one.until), None)
        if handler is None or (version < handler.stable and not call.is_experimental):
            raise NotFound(f"This is not available at API version {versions.text(version)}.")
        return handler


class Endpoint:
    """A path's Falcon resource: picks the handler for method and version."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.actions: dict[str, Table] = {}

    def serve(self, method: str, table: Table) -> None:
        """Answer this method with these handlers."""

        def respond(request: falcon.Request, response: falcon.Response, **params: str) -> None:
            call = _call(self.service, request)
            handler = table.at(call)
            if method in ("POST", "PUT"):
                _expect_space(self.service)
            raw = None
            if handler.body is not None:
                raw = bodies.read(request, self.service.settings.api.max_request_bytes)
            _answer(response, handler.status, handler.run(call, raw, params))

        setattr(self, f"on_{method.lower()}", respond)

    def act(self, request: falcon.Request, response: falcon.Response, **params: str) -> None:
        """``POST …/action``: the body's one key names the action."""
        call = _call(self.service, request)
        raw = bodies.read(request, self.service.settings.api.max_request_bytes)
        if not isinstance(raw, dict) or len(raw) != 1:
            raise Invalid("The request body must be an object with the action's name as its key.")
        name = next(iter(raw))
        if name not in self.actions:
            raise Invalid(f"There is no such action: {name[:64]}.")
        handler = self.actions[name].at(call)
        if handler.body is not None and not isinstance(raw[name], dict):
            raise Invalid(f"The action {name} needs an object as its value.")
        if name in _MAKES_MORE:
            _expect_space(self.service)
        _answer(response, handler.status, handler.run(call, raw, params))


def _expect_space(service: Service) -> None:
    if not service.database.has_room_for_more():
        raise DiskFull


def _call(service: Service, request: falcon.Request) -> Call:
    environ = request.env
    version: int = environ["atoll.version_number"]
    identity: Identity = environ["atoll.identity"]
    in_url = environ.get("atoll.url_project")
    if in_url is not None and in_url != identity.project_id:
        raise Invalid("Malformed request url: it names another project than the token does.")
    return Call(service, request, identity, version)


def _answer(response: falcon.Response, status: int, body: Body) -> None:
    response.status = status
    if body is not None:
        response.content_type = falcon.MEDIA_JSON
        response.data = _encoder.encode(body)


def mount(app: falcon.App[Any, Any], service: Service, modules: Iterable[Routes]) -> frozenset[str]:
    """Add the routes of all modules to the app; the names of the collections (``shares``, …).

    Raises ``ConfigurationError`` if two routes would answer the same request, or if a route ends
    at one version and begins again later.
    """
    endpoints: dict[str, Endpoint] = {}
    merged: dict[str, dict[str, list[Handler]]] = {}
    merged_actions: dict[str, dict[str, list[Handler]]] = {}
    for routes in modules:
        _merge(merged, routes.methods)
        _merge(merged_actions, routes.actions)
    for path, actions in merged_actions.items():
        endpoint = endpoints.setdefault(f"{path}/action", Endpoint(service))
        for name, handlers in actions.items():
            endpoint.actions[name] = Table(f"The action {name} of {path}", handlers)
        endpoint.on_post = endpoint.act  # type: ignore[attr-defined]
    for path, methods in merged.items():
        endpoint = endpoints.setdefault(path, Endpoint(service))
        for method, handlers in methods.items():
            endpoint.serve(method, Table(f"{method} {path}", handlers))
    for path, endpoint in endpoints.items():
        app.add_route(f"/v2{_with_whole_key(path)}", endpoint)
    return frozenset(path.split("/")[1] for path in endpoints)


def _merge(
    all_of_them: dict[str, dict[str, list[Handler]]],
    some: Mapping[str, Mapping[str, list[Handler]]],
) -> None:
    for path, named in some.items():
        for name, handlers in named.items():
            all_of_them.setdefault(path, {}).setdefault(name, []).extend(handlers)


_KEY: Final = "/{key}"


def _with_whole_key(path: str) -> str:
    """A key at the end of a path takes the whole rest of the path: keys may contain slashes.

    WSGI servers decode ``%2F``, so the application can't tell it from a slash.
    """
    return f"{path.removesuffix(_KEY)}/{{key:path}}" if path.endswith(_KEY) else path
