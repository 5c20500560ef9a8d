"""Validates answers of service instances, because an attacker in an instance may send anything.

Each answer is decoded into the types of ``base`` and must keep their bounds; otherwise the call
raises ``GuestError``. Texts are shortened, and unprintable characters are removed.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from atoll.errors import GuestError
from atoll.guest.base import Health, ShareUsage

MAX_LINE = 4 * 1024 * 1024
"""Bytes of the longest answer, which is enough for ten thousand shares."""
MAX_WORDS = 1000
"""Longest text of an error in characters."""

T = TypeVar("T")


class Hello(Struct, frozen=True):
    """The first message of an agent."""

    protocol: int
    boot_id: Annotated[str, Meta(pattern=r"^[0-9A-Za-z-]{1,64}$")]


class Failure(Struct, frozen=True):
    """The answer to a request that failed."""

    code: Annotated[str, Meta(max_length=100)]
    message: str


class Line(Struct, frozen=True):
    """A line from the agent. The id is decoded first; the caller decodes the result."""

    id: int | None = None
    # Empty if the key is missing.
    hello: Raw = Raw()
    result: Raw = Raw()
    error: Raw = Raw()


class Nothing(Struct, frozen=True):
    """The result of a verb that returns nothing."""


class Removed(Struct, frozen=True):
    """The result of ``remove_share``."""

    lazy: bool = False


class Usages(Struct, frozen=True):
    """The result of ``usage``."""

    shares: Annotated[tuple[ShareUsage, ...], Meta(max_length=20_000)]


_lines = msgspec.json.Decoder(Line)


def read_line(line: bytes) -> Line | None:
    """Decode a line of the agent; None for anything else, such as output of a login script."""
    try:
        return _lines.decode(line)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def read_hello(line: Line) -> Hello | None:
    """The agent's first message, or None if the line is something else."""
    try:
        return msgspec.json.decode(line.hello, type=Hello) if line.hello else None
    except (ValueError, RecursionError):
        return None


def read_answer(line: Line, kind: type[T], about: str) -> T | Failure:
    """The decoded result. Raises ``GuestError`` for an answer that Atoll's agent never sends."""
    try:
        if line.result:
            return msgspec.json.decode(line.result, type=kind)
        if line.error:
            return msgspec.json.decode(line.error, type=Failure)
    except (ValueError, RecursionError) as error:
        raise GuestError(f"{about}: the answer is not valid: {clean(str(error), 200)}") from error
    raise GuestError(f"{about}: the answer has no result and no error.")


def check_once(health: Health | Usages, about: str) -> None:
    """Raise ``GuestError`` if a share occurs twice."""
    shares = [share.share_id for share in health.shares]
    if len(set(shares)) != len(shares):
        raise GuestError(f"{about}: the answer lists a share twice.")


def clean(text: str, limit: int = MAX_WORDS) -> str:
    """The end of the text in one line, without unprintable characters."""
    kept = text[-2 * limit :].encode("utf-8", "replace").decode("utf-8")
    words = "".join(each if each.isprintable() else " " for each in kept)
    return " ".join(words.split())[-limit:]
