"""The OpenAPI 3.1 document of each microversion, made from what the routes declare.

``GET /v2/openapi.json?version=2.65`` answers with it. The caller needs a token, as for any other
route below ``/v2``: making a document takes longer than most requests, and callers without a token
should not be able to cause that much work.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import msgspec

from atoll.api.frame import faults, paging, versions
from atoll.api.frame.answers import Either, Kind, QueryString, parameter
from atoll.api.frame.call import Call
from atoll.api.frame.routing import Body, Handler, Routes
from atoll.api.frame.schemas import Schema, Schemas
from atoll.api.frame.versions import HEADER

PATH: Final = "/openapi.json"
_ALWAYS: Final = (400, 401, 403, 404, 406, 500, 503)
_WITH_CHANGES: Final = (409, 413)
_WITH_BODY: Final = (422,)
_WITH_NEW_ROWS: Final = (507,)
"""Codes of faults: those of all requests, and those that are added for requests which change
something, have a body, or need room in the database."""
_EXPERIMENTAL_HEADER: Final = {
    "name": versions.EXPERIMENTAL,
    "in": "header",
    "description": "Without it, this does not exist.",
    "required": True,
    "schema": {"type": "string", "const": "True"},
}
_IN_PATH: Final = re.compile(r"{(\w+)}")
_KEPT: Final = 2
"""Documents that are kept, encoded. One has about a quarter of a mebibyte."""


def with_document(modules: Sequence[Routes]) -> list[Routes]:
    """These routes, and the one that describes them all and itself."""
    own = Routes()
    every = [*modules, own]

    @lru_cache(maxsize=_KEPT)
    def encoded(version: int, base_url: str) -> msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(document(every, version, base_url)))

    @own.get(
        PATH,
        policy=None,
        answers=dict[str, Any],
        query=QueryString(more=(parameter("version"),)),
    )
    def show(call: Call) -> Body:
        """The OpenAPI document of a microversion, by default of the request's own."""
        wanted = paging.one(call.request.params, "version")
        version = versions.requested(wanted) if wanted else call.version
        return encoded(version, call.base_url)

    return every


def document(modules: Sequence[Routes], version: int, base_url: str = "") -> dict[str, Any]:
    """The OpenAPI document of these routes at a microversion.

    ``base_url`` has no slash at its end; without it the document is of the server it came from.
    """
    schemas = Schemas(version)
    paths: dict[str, dict[str, Any]] = {}
    for routes in modules:
        for path, methods in routes.methods.items():
            for method, handlers in methods.items():
                for handler in _serving(handlers, version)[:1]:
                    operation = _operation(schemas, version, path, method, handler)
                    paths.setdefault(path, {})[method.lower()] = operation
    for path, actions in _actions(modules, version).items():
        paths[f"{path}/action"] = {"post": _action(schemas, version, path, actions)}
    for path, item in paths.items():
        item["parameters"] = [*_in_path(path), {"$ref": "#/components/parameters/version"}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Atoll: OpenStack Shared File Systems API v2",
            "version": versions.text(version),
        },
        "servers": [{"url": f"{base_url}/v2"}],
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}
            },
            "parameters": {
                "version": _version_header(version),
                "experimental": _EXPERIMENTAL_HEADER,
            },
            "responses": dict(_faults()),
            "schemas": dict(sorted(schemas.components.items())),
        },
    }


def _serving(handlers: Iterable[Handler], version: int) -> list[Handler]:
    return [handler for handler in handlers if handler.since <= version <= handler.until]


def _actions(modules: Sequence[Routes], version: int) -> dict[str, dict[str, Handler]]:
    """Path of the resource → name of the action → what serves it."""
    found: dict[str, dict[str, Handler]] = {}
    for routes in modules:
        for path, actions in routes.actions.items():
            for name, handlers in actions.items():
                for handler in _serving(handlers, version)[:1]:
                    found.setdefault(path, {})[name] = handler
    return found


def _operation(
    schemas: Schemas, version: int, path: str, method: str, handler: Handler
) -> dict[str, Any]:
    described = handler.described
    operation: dict[str, Any] = {
        "operationId": _identifier(method, path),
        "tags": [path.split("/")[1]],
        **_words(handler),
    }
    operation["parameters"] = [
        {
            "name": one.name,
            "in": "query",
            "required": one.required,
            "schema": _bounded(schemas.of(one.kind)),
        }
        for one in (described.query.parameters(version) if described.query else ())
    ]
    if version < handler.stable:
        operation["parameters"].append({"$ref": "#/components/parameters/experimental"})
    if handler.body is not None:
        body = schemas.of(described.takes or handler.body)
        operation["requestBody"] = _content(_wrapped(body, handler.envelope), required=True)
    operation["responses"] = _responses(schemas, method, [handler])
    return operation


def _action(
    schemas: Schemas, version: int, path: str, actions: Mapping[str, Handler]
) -> dict[str, Any]:
    """All actions of a resource are one operation, whose body has the action's name as its key."""
    bodies = [
        _wrapped(
            {} if handler.body is None else schemas.of(handler.body),
            name,
            **_words(handler),
            **({"x-refused": True} if handler.described.refuses else {}),
            **({"x-experimental": True} if version < handler.stable else {}),
        )
        for name, handler in actions.items()
    ]
    return {
        "operationId": _identifier("post", f"{path}/action"),
        "tags": [path.split("/")[1]],
        "summary": f"Act on it: {', '.join(actions)}.",
        "requestBody": _content({"oneOf": bodies}, required=True),
        "responses": _responses(schemas, "POST", list(actions.values())),
    }


def _words(handler: Handler) -> dict[str, Any]:
    """What the handler's docstring says, and the policy rule that allows it."""
    summary = (inspect.getdoc(handler.function) or "").partition("\n")[0].replace("``", "`")
    return {
        **({"description": summary} if summary else {}),
        **({"x-policy": handler.policy} if handler.policy else {}),
    }


def _wrapped(body: Schema, envelope: str | None, **more: Any) -> Schema:
    if envelope is None:
        return body
    return {
        **more,
        "type": "object",
        "properties": {envelope: body},
        "required": [envelope],
    }


def _bounded(schema: Schema) -> Schema:
    """Numbers of query strings are not negative."""
    return {**schema, "minimum": 0} if schema.get("type") == "integer" else schema


def _content(schema: Schema, **more: Any) -> dict[str, Any]:
    return {**more, "content": {"application/json": {"schema": schema}}}


def _responses(schemas: Schemas, method: str, handlers: Sequence[Handler]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kinds: dict[int, list[Kind]] = {}
    for handler in handlers:
        if not handler.described.refuses:
            kinds.setdefault(handler.status, []).append(handler.described.answers)
    for status, given in sorted(kinds.items()):
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        bodies = [kind for kind in given if kind is not None]
        if bodies:
            answer |= _content(schemas.of(bodies[0] if len(bodies) == 1 else Either(*bodies)))
        if bodies and len(bodies) < len(given):
            answer["description"] += ", for some actions without a body"
        found[str(status)] = answer
    codes = list(_ALWAYS)
    codes += _WITH_CHANGES if method != "GET" else ()
    codes += _WITH_BODY if any(handler.body is not None for handler in handlers) else ()
    codes += _WITH_NEW_ROWS if method in ("POST", "PUT") else ()
    return found | {str(code): {"$ref": f"#/components/responses/{code}"} for code in sorted(codes)}


def _faults() -> Iterator[tuple[str, Any]]:
    """Faults by their code, as Manila shows them."""
    for code in sorted({*_ALWAYS, *_WITH_CHANGES, *_WITH_BODY, *_WITH_NEW_ROWS}):
        fault: Schema = {
            "type": "object",
            "properties": {"code": {"const": code}, "message": {"type": "string"}},
            "required": ["code", "message"],
        }
        if code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            fault["properties"]["retryAfter"] = {"type": "string"}
        body = {**_wrapped(fault, faults.name_of(code)), "additionalProperties": False}
        yield str(code), {"description": HTTPStatus(code).phrase, **_content(body)}


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _IN_PATH.findall(path)
    ]


def _version_header(version: int) -> dict[str, Any]:
    return {
        "name": HEADER,
        "in": "header",
        "description": "The microversion; without it 2.0.",
        "required": version > versions.LOWEST,
        "schema": {"type": "string", "const": versions.text(version)},
    }


def _identifier(method: str, path: str) -> str:
    """``get_shares_share_id`` for ``GET /shares/{share_id}``."""
    return "_".join([method.lower(), *re.findall(r"\w+", path)])
