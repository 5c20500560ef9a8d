"""How a share is served: squash mode and file system, resolved once, when it is made.

Both are set by the administrator as an extra spec of the share type, and can be chosen by the user
as share metadata of the same name when creating the share:

* ``atoll:squash``: ``root_squash`` (default), ``no_root_squash``, ``all_squash``
* ``atoll:file_system``: ``ext4`` or ``xfs``; a share from a snapshot has its parent's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from atoll.errors import Invalid

SQUASH: Final = "atoll:squash"
FILE_SYSTEM: Final = "atoll:file_system"
_CHOICES: Final = {
    SQUASH: ("root_squash", "no_root_squash", "all_squash"),
    FILE_SYSTEM: ("ext4", "xfs"),
}


def resolve(
    extra_specs: Mapping[str, str],
    metadata: Mapping[str, str],
    default_file_system: str,
    parent: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The options of a new share. ``parent`` are those of the share whose snapshot it is made of.

    Raises ``Invalid`` for an unknown value, or another file system than the parent's.
    """
    parent = parent or {}
    inherited = parent.get("file_system")
    file_system = _choose(FILE_SYSTEM, metadata, extra_specs if not inherited else {})
    if inherited and file_system not in (None, inherited):
        raise Invalid(f"A share from this snapshot has its file system, {inherited}.")
    return {
        "squash": _choose(SQUASH, metadata, extra_specs) or parent.get("squash", "root_squash"),
        "file_system": file_system or inherited or default_file_system,
    }


def _choose(key: str, metadata: Mapping[str, str], extra_specs: Mapping[str, str]) -> str | None:
    value = metadata.get(key, extra_specs.get(key))
    if value is not None and value not in _CHOICES[key]:
        raise Invalid(f"{key} must be one of {', '.join(_CHOICES[key])}, not {value[:40]!r}.")
    return value
