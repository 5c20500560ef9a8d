"""What a service instance sends, taken in with care: whoever breaks into one may send anything.

Each answer is decoded into the port's types, whose bounds it must keep; what doesn't fit is a
``GuestError`` of that one call. Words are cut to a length and lose what no log, message or database
should meet.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from atoll.errors import GuestError
from atoll.guest.base import Health, ShareUsage

MAX_LINE = 4 * 1024 * 1024
"""Bytes of the longest answer: room for ten thousand shares."""
MAX_WORDS = 1000
"""Characters that are kept of an error's words."""

T = TypeVar("T")


class Hello(Struct, frozen=True):
    """An agent's first words."""

    protocol: int
    boot_id: Annotated[str, Meta(pattern=r"^[0-9A-Za-z-]{1,64}$")]


class Failure(Struct, frozen=True):
    """The answer to a request that could not be done."""

    code: Annotated[str, Meta(max_length=100)]
    message: str


class Line(Struct, frozen=True):
    """A line of the agent's: which request it answers is read first, what it says by the asker."""

    id: int | None = None
    # Empty where it is not there.
    hello: Raw = Raw()
    result: Raw = Raw()
    error: Raw = Raw()


class Nothing(Struct, frozen=True):
    """The result of a verb that has none."""


class Removed(Struct, frozen=True):
    """The result of ``remove_share``."""

    lazy: bool = False


class Usages(Struct, frozen=True):
    """The result of ``usage``."""

    shares: Annotated[tuple[ShareUsage, ...], Meta(max_length=20_000)]


_lines = msgspec.json.Decoder(Line)


def read_line(line: bytes) -> Line | None:
    """A line of the agent's; None for anything else, such as what a login script prints."""
    try:
        return _lines.decode(line)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def read_hello(line: Line) -> Hello | None:
    """The first words, if these are some."""
    try:
        return msgspec.json.decode(line.hello, type=Hello) if line.hello else None
    except (ValueError, RecursionError):
        return None


def read_answer(line: Line, kind: type[T], about: str) -> T | Failure:
    """What was answered. Raises ``GuestError`` for what no agent of ours would say."""
    try:
        if line.result:
            return msgspec.json.decode(line.result, type=kind)
        if line.error:
            return msgspec.json.decode(line.error, type=Failure)
    except (ValueError, RecursionError) as error:
        raise GuestError(f"{about}: the answer makes no sense: {clean(str(error), 200)}") from error
    raise GuestError(f"{about}: the answer says nothing.")


def check_once(health: Health | Usages, about: str) -> None:
    """Raise ``GuestError`` when a share is told of twice."""
    shares = [share.share_id for share in health.shares]
    if len(set(shares)) != len(shares):
        raise GuestError(f"{about}: the answer tells of a share twice.")


def clean(text: str, limit: int = MAX_WORDS) -> str:
    """The end of the text, in one line, without anything that can't be printed."""
    kept = text[-2 * limit :].encode("utf-8", "replace").decode("utf-8")
    words = "".join(each if each.isprintable() else " " for each in kept)
    return " ".join(words.split())[-limit:]
