"""Types for the tables of the configuration file."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0)]
GiB = Annotated[int, Meta(gt=0)]
Limit = Annotated[int, Meta(ge=-1)]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the file. Unknown options are errors, so that a typo is noticed."""


class Cidr(str):
    """An address range in canonical form. Raises ``ValueError`` if it is not valid."""

    __slots__ = ()

    def __new__(cls, text: str) -> Cidr:
        """Check and convert a text such as ``10.0.0.0/8``."""
        try:
            return super().__new__(cls, ip_network(text))
        except ValueError as error:
            raise ValueError(f"{error}; write it like 10.0.0.0/8") from error


class SshHost(str):
    """``[user@]host[:port]``, or empty. Raises ``ValueError`` for anything else."""

    __slots__ = ()
    _FORM = re.compile(
        r"(?:(?P<user>\w[\w.-]*)@)?"
        r"(?:(?P<host>\w[\w.-]*)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>\d{1,5}))?",
        re.ASCII,
    )

    def __new__(cls, text: str = "") -> SshHost:
        """Check the text, because it becomes part of ssh's configuration."""
        if text and not cls._FORM.fullmatch(text):
            raise ValueError("Expected [user@]host[:port], an IPv6 address in brackets")
        return super().__new__(cls, text)

    @property
    def user(self) -> str:
        """The user, or empty."""
        return self._part("user")

    @property
    def host(self) -> str:
        """Name or address, without brackets."""
        return self._part("host") or self._part("ipv6")

    @property
    def port(self) -> int:
        """The port; 22 if none is given."""
        return int(self._part("port") or 22)

    def _part(self, name: str) -> str:
        found = self._FORM.fullmatch(self)
        return (found[name] if found else "") or ""
