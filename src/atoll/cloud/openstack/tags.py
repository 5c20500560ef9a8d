"""Tags in Nova, which say of each thing that Atoll makes its deployment and its owner.

Tags may be 60 characters long and have no slash (Nova's rule, the strictest), so an owner's key
``share_server/<id>`` becomes ``share_server:<id>``.
"""

from __future__ import annotations

from collections.abc import Iterable

_DEPLOYMENT = "atoll:"


def deployment_tag(deployment: str) -> str:
    """The tag of everything of a deployment."""
    return f"{_DEPLOYMENT}{deployment}"


def owner_tag(owner: str) -> str:
    """The tag of what was made for ``owner``."""
    return owner.replace("/", ":")


def owner_of(tags: Iterable[str]) -> str:
    """The owner that the tags name, or an empty string if none does."""
    owners = [tag for tag in tags if not tag.startswith(_DEPLOYMENT)]
    return owners[0].replace(":", "/", 1) if owners else ""
