"""Microversions: which there are, which one a request asks for, and the version documents.

The highest is 2.73 because the ``openstack`` command can't take a snapshot below it. What comes
next is not promised before it is there: 2.77 share transfers, 2.80 backups, 2.81 resource locks.
Of the optional features below it, those that Atoll lacks (replicas, groups, the recycle bin,
revert) are refused with a sentence, as Manila does where a back end lacks them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from atoll.errors import Invalid, NotAcceptable

HEADER: Final = "X-OpenStack-Manila-API-Version"
EXPERIMENTAL: Final = "X-OpenStack-Manila-API-Experimental"
LOWEST: Final = 0
HIGHEST: Final = 73
ALWAYS: Final = 10_000
"""Later than any version: an ``until`` that never comes."""

_FORMAT = re.compile(r"([1-9]\d{0,4})\.([1-9]\d{0,4}|0)", re.ASCII)


def minor(version: str) -> int:
    """``"2.45"`` as 45: within this module's major version the minor one orders them."""
    major, _, number = version.partition(".")
    if major != "2":
        raise ValueError(f"no microversion of this API: {version}")
    return int(number)


def text(version: int) -> str:
    """45 as ``"2.45"``."""
    return f"2.{version}"


def requested(header: str | None) -> int:
    """The version that a request's header asks for; without one 2.0.

    Raises ``Invalid`` for what is no version (``latest`` is for clients to resolve) and
    ``NotAcceptable`` for one out of range.
    """
    if header is None:
        return LOWEST
    match = _FORMAT.fullmatch(header.strip())
    if match is None:
        raise Invalid(
            f"API Version String {_short(header)} is of invalid format. Must be of format "
            "MajorNum.MinorNum."
        )
    number = int(match[2])
    if match[1] != "2" or not LOWEST <= number <= HIGHEST:
        raise NotAcceptable(
            f"Version {match[0]} is not supported by the API. Minimum is {text(LOWEST)} and "
            f"maximum is {text(HIGHEST)}."
        )
    return number


def _short(header: str) -> str:
    return repr(header[:40])


def document(base_url: str) -> Mapping[str, Any]:
    """What ``GET /`` and ``GET /v2/`` show; ``base_url`` has no slash at its end."""
    version = {
        "id": "v2.0",
        "status": "CURRENT",
        "version": text(HIGHEST),
        "min_version": text(LOWEST),
        "updated": "2026-11-22T00:00:00Z",
        "links": [
            {
                "rel": "describedby",
                "type": "text/html",
                "href": "https://docs.openstack.org/api-ref/shared-file-system/",
            },
            {"rel": "self", "href": f"{base_url}/v2/"},
        ],
        "media-types": [
            {
                "base": "application/json",
                "type": "application/vnd.openstack.share+json;version=1",
            }
        ],
    }
    return {"versions": [version]}
