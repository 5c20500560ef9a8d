"""How what we make is marked, so that it is found again: by deployment and by owner.

Tags may be 60 characters long and have no slash (Nova's rule, the strictest), so an owner's key
``share_server/<id>`` becomes ``share_server:<id>``.
"""

from __future__ import annotations

from collections.abc import Iterable

_DEPLOYMENT = "atoll:"


def deployment_tag(deployment: str) -> str:
    """The mark of everything of a deployment."""
    return f"{_DEPLOYMENT}{deployment}"


def owner_tag(owner: str) -> str:
    """The mark of what was made for ``owner``."""
    return owner.replace("/", ":")


def owner_of(tags: Iterable[str]) -> str:
    """Whom a thing with these tags was made for; empty where no tag says it."""
    owners = [tag for tag in tags if not tag.startswith(_DEPLOYMENT)]
    return owners[0].replace(":", "/", 1) if owners else ""
