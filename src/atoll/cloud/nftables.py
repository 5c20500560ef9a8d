"""Atoll's tables in nftables: they are written as a whole, and compared with the kernel's.

Other programs change rules, too: reloading ``nftables.service`` begins with ``flush ruleset``,
which removes all tables. So the kernel's table is compared with the wanted one, rule by rule.
"""

from __future__ import annotations

import re
from functools import lru_cache

from atoll.cloud.program import run
from atoll.errors import CloudError

_SHOW = 'nft --file - && nft --stateless list table inet "$1"'


def table(deployment: str) -> str:
    """Name of a deployment's table, of the family ``inet``."""
    return f"atoll_{re.sub('[^a-z0-9]', '_', deployment.lower())}"


def whole(name: str, chains: list[str]) -> str:
    """The input for nft that replaces the table by one with these chains, in one step."""
    return "\n".join(
        [
            f"table inet {name}",
            f"delete table inet {name}",
            f"table inet {name} {{",
            *chains,
            "}",
            "",
        ]
    )


def write(text: str) -> None:
    """Load the rules in one transaction, so that packets never meet only some of them."""
    run(["nft", "--file", "-"], stdin=text)


def is_there(name: str) -> bool:
    """Whether there is such a table, whatever is in it."""
    return _listed(name) is not None


def is_as_written(name: str, text: str) -> bool:
    """Whether the kernel has exactly the table that ``text`` makes.

    It is also False if they can't be compared, because writing the rules again is harmless.
    """
    listed = _listed(name)
    try:
        return listed is not None and listed == _shown(name, text)
    except CloudError:
        return False


def remove(name: str) -> None:
    """Remove a table. It may be absent."""
    write(f"table inet {name}\ndelete table inet {name}\n")


def _listed(name: str) -> str | None:
    try:
        return run(["nft", "--stateless", "list", "table", "inet", name])
    except CloudError as error:
        if "not installed" in error.message:
            raise
        return None


@lru_cache(maxsize=16)  # a failure is not cached, so that the next comparison tries again
def _shown(name: str, text: str) -> str:
    """How nft lists the table, tried in a network namespace of its own. Raises ``CloudError``."""
    return run(["unshare", "--net", "sh", "-c", _SHOW, "sh", name], stdin=text)
