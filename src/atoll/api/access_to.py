"""Who an access rule is for: the field's types and texts, in one canonical form each."""

from __future__ import annotations

import re
from typing import Final

from atoll import addresses
from atoll.errors import Invalid

IPV6_SINCE: Final = 38
"""The first microversion whose rules may name IPv6 clients."""

_USER = re.compile(r"[^\W_][\w .@-]{3,254}")
_REFUSED: Final = ("cert", "cephx")


def canonical(access_type: str, access_to: str, version: int) -> str:
    """``access_to`` as it is stored, so that equal clients have equal texts.

    Raises ``Invalid``, with a sentence that says what is wrong.
    """
    if access_type == "ip":
        return _address(access_to, version)
    if access_type == "user":
        return _user(access_to)
    if access_type in _REFUSED:
        raise Invalid(f"Access rules of type '{access_type}' are not supported here; use 'ip'.")
    raise Invalid(f"The access type must be 'ip' or 'user', not {access_type[:40]!r}.")


def _address(text: str, version: int) -> str:
    network = addresses.parse(text.strip())
    if network.version == 6 and version < IPV6_SINCE:
        raise Invalid(f"IPv6 access rules need API version 2.{IPV6_SINCE} or later.")
    return addresses.write(network)


def _user(text: str) -> str:
    # Narrower than the field's, which lets $(…) and backquotes through.
    if not _USER.fullmatch(text):
        raise Invalid(
            "A user or group name must have 4 to 255 letters, digits, spaces, dots, hyphens, "
            "underscores or at signs, and begin with a letter or digit."
        )
    return text
