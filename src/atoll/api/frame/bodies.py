"""Request bodies: JSON into msgspec Structs, or an error that names the field.

An empty body, or one without its envelope (``{"share": {…}}``), is 422 as in Manila; what is
no JSON, or has a wrong type or value in it, is 400.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeVar

import falcon
import msgspec

from atoll.errors import BodyTooLarge, Invalid, Unprocessable

T = TypeVar("T")

LARGEST: Final = 2**31 - 1

Name = Annotated[str, msgspec.Meta(max_length=255)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Size = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
"""GiB."""

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

    ``where`` stands before the field's name in the sentence of the ``Invalid`` that is raised.
    """
    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(sentence(str(error), where)) from None


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
