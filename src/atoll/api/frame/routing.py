"""How a resource module declares its routes, and how a request reaches its handler.

    routes = Routes()

    @routes.get("/shares/{share_id}", policy="share:get")
    def show(call: Call, share_id: str) -> Body: ...

    @routes.post("/shares", policy="share:create", envelope="share")
    def create(call: Call, body: CreateShare) -> Body: ...

    @routes.action("/shares/{share_id}", "extend", policy="share:extend", until="2.63")
    def extend(call: Call, share_id: str, body: Extend) -> None: ...

``since`` and ``until`` are the microversions between which a route exists; the same method and
path may be declared once for each range. The type of the ``body`` parameter is what the request's
body is validated against; what the path names is given by position. What a handler returns is
the response's JSON; None is an empty one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

import falcon
import msgspec

from atoll.api.frame import bodies, versions
from atoll.api.frame.call import Call, Service
from atoll.api.frame.policy import Identity
from atoll.errors import DiskFull, Invalid, NotFound

Body = Mapping[str, Any] | None
Function = Callable[..., Body]

_OLD_ACTIONS_UNTIL: Final = versions.minor("2.6")
_MAKES_MORE: Final = frozenset({"extend", "allow_access", "os-extend", "os-allow_access"})
"""Actions that are refused while the disk is full; the others change what is there, or free it."""
_encoder = msgspec.json.Encoder()


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

    def serves(self, version: int) -> bool:
        """Whether it exists at this version."""
        return self.since <= version <= self.until

    def run(self, call: Call, raw: Any, params: Mapping[str, str]) -> Body:
        """Check policy, validate the body, do it."""
        call.rule = self.policy
        call.enforce()
        if self.body is None:
            return self.function(call, *params.values())
        inside = bodies.unwrap(raw, self.envelope) if self.envelope else raw
        return self.function(call, *params.values(), body=bodies.convert(inside, self.body))


class Routes:
    """The routes of one resource module."""

    def __init__(self) -> None:
        self.methods: dict[str, dict[str, list[Handler]]] = {}
        """path → method → handlers"""
        self.actions: dict[str, dict[str, list[Handler]]] = {}
        """path of the resource → action name → handlers"""

    def get(
        self, path: str, *, policy: str | None, **options: Any
    ) -> Callable[[Function], Function]:
        """Declare a GET; ``since``, ``until`` (``"2.45"``), ``status`` (200)."""
        return self.route("GET", path, policy=policy, **options)

    def post(
        self, path: str, *, policy: str | None, **options: Any
    ) -> Callable[[Function], Function]:
        """Declare a POST; also ``envelope``, the name that the body's object is wrapped in."""
        return self.route("POST", path, policy=policy, **options)

    def put(
        self, path: str, *, policy: str | None, **options: Any
    ) -> Callable[[Function], Function]:
        """Declare a PUT."""
        return self.route("PUT", path, policy=policy, **options)

    def delete(
        self, path: str, *, policy: str | None, status: int = 202, **options: Any
    ) -> Callable[[Function], Function]:
        """Declare a DELETE; ``status`` is 202."""
        return self.route("DELETE", path, policy=policy, status=status, **options)

    def route(
        self,
        method: str,
        path: str,
        *,
        policy: str | None,
        status: int = 200,
        envelope: str | None = None,
        since: str = "2.0",
        until: str | None = None,
    ) -> Callable[[Function], Function]:
        """Declare a method of a path (without ``/v2``)."""

        def declare(function: Function) -> Function:
            handler = _handler(function, policy, status, envelope, since, until)
            self.methods.setdefault(path, {}).setdefault(method, []).append(handler)
            return function

        return declare

    def action(
        self,
        path: str,
        name: str,
        *,
        policy: str,
        status: int = 202,
        since: str = "2.7",
        until: str | None = None,
        old_name: bool = False,
    ) -> Callable[[Function], Function]:
        """Declare an action of ``POST {path}/action``, whose body is ``{name: {…}}``.

        With ``old_name`` it is also there as ``os-{name}`` up to 2.6.
        """

        def declare(function: Function) -> Function:
            handlers = self.actions.setdefault(path, {})
            handlers.setdefault(name, []).append(
                _handler(function, policy, status, name, since, until)
            )
            if old_name:
                old = f"os-{name}"
                handlers.setdefault(old, []).append(
                    _handler(function, policy, status, old, "2.0", "2.6")
                )
            return function

        return declare


def _handler(
    function: Function,
    policy: str | None,
    status: int,
    envelope: str | None,
    since: str,
    until: str | None,
) -> Handler:
    last = versions.minor(until) if until is not None else versions.ALWAYS
    body = get_type_hints(function).get("body")
    return Handler(function, policy, status, envelope, body, versions.minor(since), last)


class Endpoint:
    """A path's Falcon resource: picks the handler for method and version."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.actions: dict[str, list[Handler]] = {}

    def serve(self, method: str, handlers: list[Handler]) -> None:
        """Answer this method with these handlers."""

        def respond(request: falcon.Request, response: falcon.Response, **params: str) -> None:
            call = _call(self.service, request)
            handler = _pick(handlers, call.version)
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
        handler = _pick(self.actions[name], call.version)
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


def _pick(handlers: Iterable[Handler], version: int) -> Handler:
    for handler in handlers:
        if handler.serves(version):
            return handler
    raise NotFound(f"This is not available at API version {versions.text(version)}.")


def _answer(response: falcon.Response, status: int, body: Body) -> None:
    response.status = status
    if body is not None:
        response.content_type = falcon.MEDIA_JSON
        response.data = _encoder.encode(body)


def mount(app: falcon.App[Any, Any], service: Service, modules: Iterable[Routes]) -> frozenset[str]:
    """Add the routes of all modules to the app; the names of the collections (``shares``, …)."""
    endpoints: dict[str, Endpoint] = {}
    merged: dict[str, dict[str, list[Handler]]] = {}
    for routes in modules:
        for path, methods in routes.methods.items():
            for method, handlers in methods.items():
                merged.setdefault(path, {}).setdefault(method, []).extend(handlers)
        for path, actions in routes.actions.items():
            endpoint = endpoints.setdefault(f"{path}/action", Endpoint(service))
            for name, handlers in actions.items():
                endpoint.actions.setdefault(name, []).extend(handlers)
    for endpoint in endpoints.values():
        endpoint.on_post = endpoint.act  # type: ignore[attr-defined]
    for path, methods in merged.items():
        endpoint = endpoints.setdefault(path, Endpoint(service))
        for method, handlers in methods.items():
            endpoint.serve(method, handlers)
    for path, endpoint in endpoints.items():
        app.add_route(f"/v2{_with_whole_key(path)}", endpoint)
    return frozenset(path.split("/")[1] for path in endpoints)


_KEY: Final = "/{key}"


def _with_whole_key(path: str) -> str:
    """A key at the end of a path takes the whole rest of the path: keys may contain slashes.

    WSGI servers decode ``%2F``, so the application can't tell it from a slash.
    """
    return f"{path.removesuffix(_KEY)}/{{key:path}}" if path.endswith(_KEY) else path
