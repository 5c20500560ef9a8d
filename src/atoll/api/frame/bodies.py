"""Request bodies: JSON into msgspec Structs, or an error that names the field.

An empty body, or one without its envelope (``{"share": {…}}``), is 422 as in Manila; what is
no JSON, or has a wrong type or value in it, is 400.

A field says since when it exists: ``force: Annotated[bool, since("2.64")] = False``. Below that it
is ignored, as in Manila, or refused with a sentence where Manila does so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin, get_type_hints

import falcon
import msgspec

from atoll.api.frame import versions
from atoll.capabilities import yes_or_no
from atoll.errors import BodyTooLarge, Invalid, Unprocessable

T = TypeVar("T")

LARGEST: Final = 2**31 - 1

Name = Annotated[str, msgspec.Meta(max_length=255)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
IdOrNone = Annotated[str, msgspec.Meta(max_length=64)] | None
"""An id that may be left out; an empty one, like null, is none."""
END: Final = r"$(?!\n)"
"""The end of a pattern. ``$`` alone lets a line feed follow, so that a text may be too long."""
Size = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
"""GiB."""

Refused = msgspec.Meta(extra_json_schema={"x-refused": True})
"""Marks a field for the OpenAPI document: it is known, but only refusals are answered to it."""

_SINCE: Final = "since"
_REFUSAL: Final = "refusal"
"""Keys of what ``since`` adds to a field's annotation."""
_decoder = msgspec.json.Decoder()
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_AT = re.compile(r" - at (?P<key>`key` in )?`\$?\.?(?P<field>.*)`$", re.DOTALL)
_NAMES = {
    "int": "an integer",
    "str": "a string",
    "bool": "a boolean",
    "object": "an object",
    "array": "a list",
    "null": "nothing",
}
_QUOTED = re.compile(r"`([^`]*)`")
_LENGTHS = (
    (re.compile(r"of length <= (\d+)"), r"of at most \1 characters"),
    (re.compile(r"of length >= 1\b"), "that is not empty"),
    (re.compile(r"of length >= (\d+)"), r"of at least \1 characters"),
)


def read(request: falcon.Request, largest: int) -> Any:
    """The decoded body. Raises ``BodyTooLarge``, ``Unprocessable`` (empty) or ``Invalid``."""
    if (request.content_length or 0) > largest:
        raise BodyTooLarge(f"The request body is larger than {largest} bytes.")
    # A chunked body has no length; the server says then that it knows where the body ends.
    chunked = request.env.get("wsgi.input_terminated") and request.content_length is None
    raw = (request.stream if chunked else request.bounded_stream).read(largest + 1)
    if len(raw) > largest:
        raise BodyTooLarge(f"The request body is larger than {largest} bytes.")
    if not raw.strip():
        raise Unprocessable("The request needs a body, and has none.")
    if _ESCAPED_NUL.search(raw):
        raise Invalid("A text in the request body contains a NUL character.")
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"Malformed request body: {error}.") from None


def unwrap(body: Any, envelope: str) -> dict[str, Any]:
    """The object inside ``{envelope: …}``. Raises ``Unprocessable``."""
    inside = body.get(envelope) if isinstance(body, dict) else None
    if not isinstance(inside, dict):
        raise Unprocessable(f"The request body must be an object with an object '{envelope}'.")
    return inside


def convert(data: Any, kind: type[T], where: str = "") -> T:
    """Validate. Texts that spell numbers or booleans pass for them, as in Manila.

    The words for booleans are those of ``yes_or_no``; they count in the fields of ``kind`` itself.
    ``where`` stands before the field's name in the sentence of the ``Invalid`` that is raised.
    """
    try:
        return msgspec.convert(_with_booleans(data, kind), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(sentence(str(error), where)) from None


def _with_booleans(data: Any, kind: Any) -> Any:
    """The data with booleans in place of the words for them."""
    names = _booleans(kind)
    if not names or not isinstance(data, dict):
        return data
    said = {name: yes_or_no(data[name]) for name in names if isinstance(data.get(name), str)}
    return {**data, **{name: value for name, value in said.items() if value is not None}}


@cache
def _booleans(kind: Any) -> tuple[str, ...]:
    """The names of a Struct's fields that are booleans."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return ()
    hints = get_type_hints(kind)
    return tuple(
        field.encode_name
        for field in msgspec.structs.fields(kind)
        if bool in _parts(hints[field.name])
    )


def since(version: str, *, refusal: str = "") -> msgspec.Meta:
    """Annotates a field of a body with its first microversion.

    Below it the field is ignored; with a ``refusal`` any value that counts is answered with that
    sentence.
    """
    return msgspec.Meta(extra={_SINCE: versions.minor(version), _REFUSAL: refusal})


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that does not exist at all versions, or that has such fields in it."""

    since: int
    refusal: str
    inside: Versions


class Versions:
    """Which fields of a body exist at which version; compiled once for each version."""

    def __init__(self, fields: Mapping[str, _Field]) -> None:
        self._fields = fields
        self._at = cache(self._compile)

    @classmethod
    def of(cls, kind: Any) -> Versions:
        """Of a Struct, or of a type without fields of its own."""
        return cls(dict(_fields_of(kind)))

    def later(self, version: int) -> Iterator[tuple[str, Versions | None]]:
        """Fields that do not exist yet; of others that have such fields in them, these."""
        for name in self._at(version):
            field = self._fields[name]
            yield name, None if version < field.since else field.inside

    @property
    def is_empty(self) -> bool:
        """Whether all fields exist at all versions."""
        return not self._fields

    def known(self, body: Any, version: int) -> Any:
        """The body without the fields that do not exist yet. Raises ``Invalid``."""
        later = self._at(version) if self._fields else None
        if not later or not isinstance(body, dict):
            return body
        shown = dict(body)
        for name in later & shown.keys():
            field = self._fields[name]
            if version >= field.since:
                shown[name] = field.inside.known(shown[name], version)
                continue
            if field.refusal and shown[name]:
                raise Invalid(field.refusal)
            del shown[name]
        return shown

    def _compile(self, version: int) -> frozenset[str]:
        """The fields that must be looked at."""
        return frozenset(
            name
            for name, field in self._fields.items()
            if version < field.since or field.inside.needed(version)
        )

    def needed(self, version: int) -> bool:
        """Whether any field must be looked at."""
        return bool(self._at(version))


def _fields_of(kind: Any) -> Iterator[tuple[str, _Field]]:
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        hint = hints[field.name]
        extra = _extra(hint)
        inside = Versions(dict(each for part in _parts(hint) for each in _fields_of(part)))
        if _SINCE in extra or not inside.is_empty:
            first, refusal = extra.get(_SINCE, versions.LOWEST), extra.get(_REFUSAL, "")
            yield field.encode_name, _Field(first, refusal, inside)


def _extra(hint: Any) -> Mapping[str, Any]:
    metas = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((meta.extra for meta in metas if meta.extra), {})


def _parts(hint: Any) -> Iterator[Any]:
    """The types that a hint is made of."""
    if get_origin(hint) is Annotated:
        yield from _parts(get_args(hint)[0])
    elif get_args(hint):
        for part in get_args(hint):
            yield from _parts(part)
    else:
        yield hint


def sentence(message: str, where: str = "") -> str:
    """msgspec's words as a sentence that starts with the field.

    >>> sentence("Expected `int`, got `str` - at `$.size`")
    "Invalid input for field 'size': expected an integer, got a string."
    >>> sentence("Expected `str` of length <= 255 - at `key` in `$.metadata`")
    "Invalid input for a key of 'metadata': expected a string of at most 255 characters."
    """
    match = _AT.search(message)
    field = match["field"] if match else ""
    said = _AT.sub("", message)
    said = _QUOTED.sub(_in_words, said)
    for pattern, words in _LENGTHS:
        said = pattern.sub(words, said)
    said = said[:1].lower() + said[1:]
    part = "a key of" if match and match["key"] else "field"
    if field.endswith("[...]"):
        part, field = "a value of", field.removesuffix("[...]")
    named = ".".join(part for part in (where, field) if part)
    return f"Invalid input for {part} '{named}': {said}." if named else f"Invalid input: {said}."


def _in_words(quoted: re.Match[str]) -> str:
    """A type, or several, in words; a field's name in quotation marks."""
    types = quoted[1].split(" | ")
    if not all(one in _NAMES for one in types):
        return f"'{quoted[1]}'"
    return " or ".join(_NAMES[one] for one in types)
