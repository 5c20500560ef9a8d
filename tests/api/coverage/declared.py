"""What the OpenAPI documents say is there, by name, with the microversions at which it is.

Operations are ``GET /shares/{}``, actions ``POST /shares/{}/action extend``. Behind either stands a
filter (``?name``), a field of the request (``< size``) or a field of the answer (``> status``).
What is always refused, and a list that is always empty, is not there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from atoll.api.app import RESOURCES
from atoll.api.frame import versions
from atoll.api.frame.openapi import document, with_document

Schema = Mapping[str, Any]

VERSIONS = range(versions.LOWEST, versions.HIGHEST + 1)
_REFERENCE = "#/components/schemas/"


@cache
def declared() -> dict[str, set[int]]:
    """Names with the microversions at which they are there."""
    routes = with_document([module.routes for module in RESOURCES])
    found: dict[str, set[int]] = defaultdict(set)
    for version in VERSIONS:
        for name in _Document(document(routes, version)).names():
            found[name].add(version)
    return found


class _Document:
    """One document."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content

    def names(self) -> Iterator[str]:
        """All names in it."""
        for path, item in self._content["paths"].items():
            for method, operation in item.items():
                if method != "parameters":
                    name = f"{method.upper()} {re.sub('{[^}]*}', '{}', path)}"
                    yield from self._operation(name, operation)

    def _operation(self, name: str, operation: Mapping[str, Any]) -> Iterator[str]:
        answers = [
            _schema(answer)
            for code, answer in operation["responses"].items()
            if code.startswith("2")
        ]
        if not answers or any(self._is_empty_list(answer) for answer in answers if answer):
            return
        body = _schema(operation.get("requestBody", {}))
        if name.endswith("/action"):
            yield from self._actions(name, body)
        else:
            yield name
            yield from (f"{name} < {field}" for field in self._request(body))
        for parameter in operation.get("parameters", ()):
            yield f"{name} ?{parameter['name']}"
        for answer in answers:
            yield from (f"{name} > {field}" for field in self._answered(answer))

    def _actions(self, name: str, body: Schema) -> Iterator[str]:
        for one in body["oneOf"]:
            if one.get("x-refused"):
                continue
            action = one["required"][0]
            yield f"{name} {action}"
            inside = one["properties"][action]
            yield from (f"{name} {action} < {field}" for field in self._fields(inside))

    def _request(self, body: Schema) -> Iterator[str]:
        """The fields of a request, without its envelope."""
        properties = body.get("properties", {})
        if len(properties) == 1 and "properties" in next(iter(properties.values())):
            return self._fields(next(iter(properties.values())))
        return self._fields(body)

    def _fields(self, schema: Schema) -> Iterator[str]:
        """Names of the properties; those of an object in it, behind its name and a point."""
        for name, inner in schema.get("properties", {}).items():
            choices = inner.get("anyOf", [inner])
            if any(one.get("x-refused") for one in (inner, *choices)):
                continue
            yield name
            for one in choices:
                yield from (f"{name}.{below}" for below in self._fields(one))

    def _answered(self, schema: Schema) -> Iterator[str]:
        """The fields of a resource in an answer, or of each one in a list."""
        for one in self._resolved(schema).get("anyOf", [schema]):
            for inner in self._resolved(one).get("properties", {}).values():
                resource = self._resolved(inner)
                resource = self._resolved(resource.get("items", resource))
                yield from resource.get("properties", {})

    def _is_empty_list(self, schema: Schema) -> bool:
        properties = schema.get("properties", {}).values()
        return bool(properties) and all(one.get("maxItems") == 0 for one in properties)

    def _resolved(self, schema: Schema) -> Schema:
        reference = schema.get("$ref", "")
        if not reference:
            return schema
        found: Schema = self._content["components"]["schemas"][reference.removeprefix(_REFERENCE)]
        return found


def _schema(part: Mapping[str, Any]) -> Schema:
    content: Mapping[str, Any] = part.get("content", {}).get("application/json", {})
    schema: Schema = content.get("schema", {})
    return schema
