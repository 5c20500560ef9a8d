"""Whether the capabilities of a pool satisfy the extra specs of a share type.

A share type's extra specs are compared with the capabilities that pools report, by Manila's rules:

* Specs with a scope (``provisioning:max_share_size``) are not compared, except for the scope
  ``capabilities``, which may be written or left out.
* A spec is a value, or an operator and a value: ``=`` (at least), ``==``, ``!=``, ``>=``, ``<=``
  for numbers, ``s==``, ``s!=``, ``s<``, ``s<=``, ``s>``, ``s>=`` for text, ``<is>`` for booleans,
  ``<in>`` for a part of a text, ``<or>`` before each of several texts.
* A spec for a capability that the pool does not report is not satisfied.

This module also defines which words mean true and which mean false.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_TRUE: Final = frozenset({"1", "t", "true", "on", "y", "yes"})
_FALSE: Final = frozenset({"0", "f", "false", "off", "n", "no"})
_IS: Final = re.compile(r"<is>\s*(\w+)", re.IGNORECASE)
_SCOPE: Final = "capabilities"
_NOT_COMPARED: Final = frozenset({"availability_zones"})
"""Specs without a scope that are used for placement, but that no pool reports."""

_NUMBERS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_TEXTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
    "<in>": operator.contains,
}


def yes_or_no(text: str) -> bool | None:
    """True or False for a boolean word; None for any other."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    return False if word in _FALSE else None


def truth(value: object) -> bool | None:
    """True or False for an extra spec (a word, or ``<is> True``); None for any other."""
    text = str(value).strip()
    form = _IS.fullmatch(text)
    return yes_or_no(form.group(1) if form else text)


def is_true(value: object) -> bool:
    """Whether a value is given and means true."""
    return value is not None and truth(value) is True


def same(one: object, other: object) -> bool:
    """Whether two values are equal. Booleans are equal in any spelling."""
    return str(one) == str(other) or (truth(one) is not None and truth(one) == truth(other))


def unmet(capabilities: Mapping[str, Any], specs: Mapping[str, str]) -> list[str]:
    """The keys of those extra specs that a pool with these capabilities does not satisfy."""
    return [
        key
        for key, wanted in specs.items()
        if _concerns_pools(key) and not _satisfies(_reported(capabilities, key), str(wanted))
    ]


def _concerns_pools(key: str) -> bool:
    scope, colon, _ = key.partition(":")
    return key not in _NOT_COMPARED and (not colon or scope == _SCOPE)


def _reported(capabilities: Mapping[str, Any], key: str) -> Any:
    """The value that the pool reports; colons in ``key`` lead into nested dictionaries."""
    found: Any = capabilities
    for part in key.removeprefix(f"{_SCOPE}:").split(":"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _satisfies(reported: Any, wanted: str) -> bool:
    """Whether the value that a pool reports satisfies the spec; of a list, one value must."""
    values = reported if isinstance(reported, list) else [reported]
    return any(value is not None and _matches(value, wanted) for value in values)


def _matches(value: Any, wanted: str) -> bool:
    sign, *rest = wanted.split() or [""]
    if isinstance(value, bool) and truth(wanted) is not None:
        return value is truth(wanted)
    if sign == "<or>":
        return str(value) in (word for word in rest if word != "<or>")
    if sign == "<is>":
        return bool(rest) and truth(value) is not None and truth(value) == truth(rest[0])
    if sign in _TEXTS:
        return bool(rest) and _TEXTS[sign](str(value), rest[0])
    if sign in _NUMBERS:
        try:
            return bool(rest) and _NUMBERS[sign](float(value), float(rest[0]))
        except (TypeError, ValueError):
            return False
    return same(value, wanted)
