"""Tables of ours in nftables: written as a whole, and compared with what the kernel really has.

Other programs change rules, too: reloading ``nftables.service`` begins with ``flush ruleset``,
which takes all tables away. So the kernel's table is compared with the wanted one, rule by rule.
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
    """nft's words that make the table have these chains and nothing else, in one step."""
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
    """Make the rules be these; packets never meet half of them."""
    run(["nft", "--file", "-"], stdin=text)


def is_there(name: str) -> bool:
    """Whether there is such a table, whatever is in it."""
    return _listed(name) is not None


def is_as_written(name: str, text: str) -> bool:
    """Whether the kernel has exactly the table that ``text`` makes."""
    listed = _listed(name)
    return listed is not None and listed == _shown(name, text)


def remove(name: str) -> None:
    """Take a table away. Absent is fine."""
    write(f"table inet {name}\ndelete table inet {name}\n")


def _listed(name: str) -> str | None:
    try:
        return run(["nft", "--stateless", "list", "table", "inet", name])
    except CloudError as error:
        if "not installed" in error.message:
            raise
        return None


@lru_cache(maxsize=16)
def _shown(name: str, text: str) -> str | None:
    """How nft shows the table, tried in a network of its own; None where that can't be made.

    Then nobody can tell, and the rules are written again each time, which harms nothing.
    """
    try:
        return run(["unshare", "--net", "sh", "-c", _SHOW, "sh", name], stdin=text)
    except CloudError:
        return None
