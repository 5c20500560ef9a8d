"""Compares the machine's firewall before and after a run, and finds what Atoll has left.

libvirt makes tables at its first start on a machine and never removes them. They are recognised by
their content: with iptables, chains like ``LIBVIRT_INP`` and jumps to them; otherwise tables like
``libvirt_network``. A rule that names one of Atoll's bridges is Atoll's in any table.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

BRIDGE = re.compile(r"\bat[0-9a-f]{4}-[0-9a-f]{8}\b")
"""The name of a bridge of the cloud "local"."""

_WITH_IPTABLES = re.compile(r"LIBVIRT_[A-Z]{3}|libvirt-[\w-]+")
"""libvirt's chains in iptables, for its networks and packet filters."""
_OWN_TABLE = re.compile(r"libvirt_\w+")
_IN_ITS_OWN = re.compile(r"guest_\w+")
_COUNTS = {"counter", "handle", "packets", "bytes"}
"""Keys that change without a change of the rule (counters, handles)."""

Json = dict[str, Any]


class Tables:
    """All present nftables tables, with their chains and rules."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._parts: dict[str, list[tuple[str, Json]]] = defaultdict(list)
        for kind, thing in _ruleset():
            if kind == "table":
                self.names.add(f"{thing['family']} {thing['name']}")
            elif "table" in thing:
                self._parts[f"{thing['family']} {thing['table']}"].append((kind, thing))

    def new_since(self, before: Tables) -> list[str]:
        """A line for each table, chain and rule that is new and not libvirt's own."""
        found: list[str] = []
        for name in sorted(self.names):
            is_new = name not in before.names
            if is_new and not self._has_libvirts(name):
                found.append(f"firewall table {name}")
                continue
            known = {_text(kind, thing) for kind, thing in before._parts.get(name, ())}
            for kind, thing in self._parts[name]:
                text = _text(kind, thing)
                if text in known:
                    continue
                # Other programs may have changed a known table, but a new one is only libvirt's.
                if _names_atoll(text) or (is_new and not _is_libvirts(name, kind, thing)):
                    found.append(f"firewall {kind} in {name}: {text}")
        return found

    def _has_libvirts(self, name: str) -> bool:
        """Whether libvirt has made this table, which may also have other contents."""
        chains = [thing["name"] for kind, thing in self._parts[name] if kind == "chain"]
        return any(map(_chain_of_libvirts(name).fullmatch, chains))


def _chain_of_libvirts(table: str) -> re.Pattern[str]:
    """The pattern of libvirt's chains in a table with this family and name."""
    return _IN_ITS_OWN if _OWN_TABLE.fullmatch(table.partition(" ")[2]) else _WITH_IPTABLES


def _is_libvirts(table: str, kind: str, thing: Json) -> bool:
    """Whether libvirt makes such an object in its tables."""
    chain = _chain_of_libvirts(table)
    if kind == "chain":
        # libvirt's base chains accept all packets, and have rules that jump to its other chains.
        is_open = "hook" in thing and thing.get("policy") == "accept"
        return is_open or bool(chain.fullmatch(thing["name"]))
    if kind == "rule":
        targets = [each["jump"]["target"] for each in thing["expr"] if "jump" in each]
        return any(map(chain.fullmatch, [thing["chain"], *targets]))
    return False


def _names_atoll(text: str) -> bool:
    return "atoll" in text.lower() or bool(BRIDGE.search(text))


def _text(kind: str, thing: Json) -> str:
    if kind == "rule":
        return f"{thing['chain']} {json.dumps(_without_counts(thing['expr']))}"
    return json.dumps(_without_counts(thing))


def _without_counts(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {key: _without_counts(value) for key, value in thing.items() if key not in _COUNTS}
    if isinstance(thing, list):
        return [_without_counts(value) for value in thing]
    return thing


def _ruleset() -> Iterator[tuple[str, Json]]:
    argv = ["nft", "-j", "list", "ruleset"]
    try:
        shown = subprocess.run(argv, check=False, capture_output=True)
    except FileNotFoundError:
        return
    if shown.returncode:
        return
    for entry in json.loads(shown.stdout)["nftables"]:
        yield from entry.items()
