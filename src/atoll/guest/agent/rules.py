"""Access rules as the servers write them. Atoll's own side uses this module, too.

A rule is a mapping with ``type`` (ip, user), ``to`` and ``level`` (rw, ro).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable

Rules = dict[tuple[str, str], str]
"""``{(type, canonical to): level}``"""


@functools.lru_cache(maxsize=65536)
def canonical(to: str) -> str:
    """The canonical text of an address or range, e.g. 10.0.0.1 for 10.0.0.1/32.

    Raises ``ValueError`` for other texts.
    """
    if "%" in to:
        raise ValueError(f"{to!r} has a zone")
    network = ipaddress.ip_network(to, strict=False)
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def digest(rules: Iterable[dict[str, str]], squash: str) -> str:
    """A digest of the exports, which is equal for the same rules in any order and spelling."""
    lines = []
    for rule in rules:
        to = rule["to"]
        if rule["type"] == "ip":
            with contextlib.suppress(ValueError):
                to = canonical(to)
        lines.append([rule["type"], to, rule["level"]])
    return hashlib.sha256(json.dumps([squash, sorted(lines)]).encode()).hexdigest()


def refusal(rule: dict[str, str], protocol: str) -> str:
    """The reason why ``protocol`` can't have this rule; empty if it can."""
    if rule["level"] not in ("rw", "ro"):
        return f"There is no access level {rule['level']!r}."
    if rule["type"] == "ip":
        try:
            canonical(rule["to"])
        except ValueError:
            return f"{rule['to']!r} is not a valid address or range."
        if protocol == "CIFS" and rule["level"] == "ro":
            return "CIFS has no read-only access by address; use a rule by user."
        return ""
    if rule["type"] == "user" and protocol == "CIFS":
        # Quotes, commas and % are excluded, because Samba gives them a special meaning.
        if not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._\\-]*", rule["to"]):
            return f"{rule['to']!r} is not a user name."
        return ""
    return f"{protocol} has no access rules of type {rule['type']!r}."


def servable(rules: Iterable[dict[str, str]], protocol: str) -> tuple[Rules, dict[str, str]]:
    """Return the rules that can be served, in their order, and ``{to: reason}`` of the others."""
    accepted: Rules = {}
    rejected: dict[str, str] = {}
    for rule in rules:
        reason = refusal(rule, protocol)
        if reason:
            rejected[rule["to"]] = reason
            continue
        to = canonical(rule["to"]) if rule["type"] == "ip" else rule["to"]
        level = accepted.setdefault((rule["type"], to), rule["level"])
        if level != rule["level"]:
            rejected[rule["to"]] = f"Another rule gives {to} the level {level}."
    return accepted, rejected
