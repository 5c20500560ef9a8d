"""JSON schemas of what routes take and answer, at one microversion: the kinds of ``answers.py``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, get_type_hints

import msgspec

from atoll.api.frame.answers import EMPTY, Both, Either, Kind, OneOf, Part
from atoll.api.frame.bodies import Versions
from atoll.api.frame.versions import minor
from atoll.api.frame.views import Constant, Field, View
from atoll.model.states import Status

Schema = dict[str, Any]

_REF: Final = "#/components/schemas/"


class UndeclaredError(TypeError):
    """A view's field whose type cannot be found out."""


class Schemas:
    """The schemas of one document. Views become components, everything else is written in place."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._views: dict[str, View] = {}
        self.components: dict[str, Schema] = {}

    def of(self, kind: Kind) -> Schema:
        """The schema of a kind."""
        if kind is EMPTY:
            return {"type": "array", "maxItems": 0}
        if isinstance(kind, View):
            return self._view(kind)
        if isinstance(kind, OneOf):
            return {"type": "string", "enum": list(kind.words)}
        if isinstance(kind, list):
            return {"type": "array", "items": self.of(kind[0])}
        if isinstance(kind, dict):
            return self._keys(kind)
        if isinstance(kind, Either):
            return {"anyOf": [self.of(one) for one in kind.kinds]}
        if isinstance(kind, Both):
            return self._both(kind)
        return _without(of_type(kind), _fields(kind), self._version)

    def _keys(self, kind: Mapping[str, Kind]) -> Schema:
        properties, required = {}, []
        for key, inner in kind.items():
            if isinstance(inner, Part):
                if minor(inner.since) <= self._version:
                    properties[key] = self.of(inner.kind)
            else:
                properties[key] = self.of(inner)
                required.append(key)
        return _object(properties, required)

    def _both(self, kind: Both) -> Schema:
        parts = [self._fields(one) if isinstance(one, View) else self.of(one) for one in kind.kinds]
        properties = {key: value for part in parts for key, value in part["properties"].items()}
        return _object(properties, [key for part in parts for key in part.get("required", ())])

    def _view(self, view: View) -> Schema:
        """A reference to the view's component."""
        if not view.name:
            return self._fields(view)
        known = self._views.setdefault(view.name, view)
        if known is not view:
            raise UndeclaredError(f"Two views have the same name: {view.name}.")
        if view.name not in self.components:
            self.components[view.name] = self._fields(view)
        return {"$ref": _REF + view.name}

    def _fields(self, view: View) -> Schema:
        properties, required = {}, []
        for one in view.fields:
            if not one.since <= self._version <= one.until:
                continue
            schema = self.of(_kind_of(one, view))
            if one.admin:
                schema = {**schema, "description": "Only administrators see this."}
            else:
                required.append(one.name)
            properties[one.name] = schema
        return _object(properties, required)


def _object(properties: Mapping[str, Schema], required: list[str]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _kind_of(one: Field, view: View) -> Kind:
    """What a field is: declared with it, by its source, or by the record's type."""
    if one.kind is not None:
        return one.kind
    found: Any = None
    if isinstance(one.source, Constant):
        found = type(one.source.value)
    elif isinstance(one.source, str):
        hints = (_hints(record) for record in view.records)
        found = next((known[one.source] for known in hints if one.source in known), None)
    else:
        found = _hints(one.source).get("return")
    if found in (None, Any):
        found = view.values
    if found is None:
        raise UndeclaredError(f"The type of the field {one.name} of a view is not declared.")
    return found


@cache
def _hints(of: Any) -> Mapping[str, Any]:
    """The annotations of a record or of a function."""
    return get_type_hints(of, include_extras=True)


@cache
def of_type(kind: Any) -> Schema:
    """The schema of a Python type, with everything that it refers to written in place."""
    if isinstance(kind, type) and issubclass(kind, Status):
        # Clients see the statuses that are set by hand without their mark.
        return {"type": "string", "enum": list(kind.settable())}
    (schema,), components = msgspec.json.schema_components((kind,), ref_template=_REF + "{name}")
    return _in_place(schema, components)  # type: ignore[no-any-return]


_fields = cache(Versions.of)


def _without(schema: Schema, fields: Versions, version: int) -> Schema:
    """The schema of a body without the fields that do not exist yet at a version."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_without(one, fields, version) for one in schema["anyOf"]]}
    if fields.is_empty or "properties" not in schema:
        return schema
    properties = dict(schema["properties"])
    for name, inside in fields.later(version):
        if inside is None:
            del properties[name]
        else:
            properties[name] = _without(properties[name], inside, version)
    return {**schema, "properties": properties}


def _in_place(schema: Any, components: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_in_place(one, components) for one in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _in_place(components[reference.removeprefix(_REF)], components)
    return {name: _in_place(value, components) for name, value in schema.items()}
