"""Answers of service instances, validated: an attacker in an instance may send anything.

Each answer is decoded into the port's types and must keep their bounds; otherwise that one call
ends in a ``GuestError``. Texts are shortened, and unprintable characters are removed.
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
"""Characters that are kept of an error's text."""

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
    """A line of the agent's: the request id is decoded first, the result only by the asker."""

    id: int | None = None
    # Empty if the key is missing.
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
    """The agent's greeting, if the line is one."""
    try:
        return msgspec.json.decode(line.hello, type=Hello) if line.hello else None
    except (ValueError, RecursionError):
        return None


def read_answer(line: Line, kind: type[T], about: str) -> T | Failure:
    """The decoded result. Raises ``GuestError`` for one that no agent of ours would send."""
    try:
        if line.result:
            return msgspec.json.decode(line.result, type=kind)
        if line.error:
            return msgspec.json.decode(line.error, type=Failure)
    except (ValueError, RecursionError) as error:
        raise GuestError(f"{about}: the answer makes no sense: {clean(str(error), 200)}") from error
    raise GuestError(f"{about}: the answer says nothing.")


def check_once(health: Health | Usages, about: str) -> None:
    """Raise ``GuestError`` if a share occurs twice."""
    shares = [share.share_id for share in health.shares]
    if len(set(shares)) != len(shares):
        raise GuestError(f"{about}: the answer tells of a share twice.")


def clean(text: str, limit: int = MAX_WORDS) -> str:
    """The end of the text, in one line, without anything that can't be printed."""
    kept = text[-2 * limit :].encode("utf-8", "replace").decode("utf-8")
    words = "".join(each if each.isprintable() else " " for each in kept)
    return " ".join(words.split())[-limit:]
