"""Who an access rule is for: Manila's types and texts, in one canonical form each."""

from __future__ import annotations

import re
from typing import Final

from atoll import addresses
from atoll.errors import Invalid

IPV6_SINCE: Final = 38
"""The first microversion whose rules may name IPv6 clients."""

_USER = re.compile(r"[^\W_][\w .@-]{3,254}")
_LONGEST_COMMON_NAME: Final = 64
_CEPHX_SINCE: Final = 13


def canonical(access_type: str, access_to: str, version: int) -> str:
    """``access_to`` as it is stored, so that equal clients have equal texts.

    Raises ``Invalid``, with a sentence that says what is wrong.
    """
    if access_type == "ip":
        return _address(access_to, version)
    if access_type == "user":
        return _user(access_to)
    if access_type == "cert":
        return _common_name(access_to)
    if access_type == "cephx" and version >= _CEPHX_SINCE:
        return _ceph_user(access_to)
    known = "'user', 'cert' or 'cephx'" if version >= _CEPHX_SINCE else "'user' or 'cert'"
    raise Invalid(f"The access type must be 'ip', {known}, not {access_type[:40]!r}.")


def _address(text: str, version: int) -> str:
    network = addresses.parse(text.strip())
    if network.version == 6 and version < IPV6_SINCE:
        raise Invalid(f"IPv6 access rules need API version 2.{IPV6_SINCE} or later.")
    return addresses.write(network)


def _user(text: str) -> str:
    # Narrower than Manila's, which lets $(…) and backquotes through.
    if not _USER.fullmatch(text):
        raise Invalid(
            "A user or group name must have 4 to 255 letters, digits, spaces, dots, hyphens, "
            "underscores or at signs, and begin with a letter or digit."
        )
    return text


def _common_name(text: str) -> str:
    name = text.strip()
    if not 0 < len(name) <= _LONGEST_COMMON_NAME or not name.isprintable():
        raise Invalid(
            f"A certificate's common name must have 1 to {_LONGEST_COMMON_NAME} printable "
            "characters."
        )
    return name


def _ceph_user(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or "." in text:
        raise Invalid("A Ceph user must be printable ASCII characters, without periods.")
    return text
