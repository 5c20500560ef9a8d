"""Public host keys that an administrator configures: the key itself, or a file with it."""

from __future__ import annotations

from pathlib import Path

from atoll.errors import ConfigurationError

_TYPES = ("ssh-", "ecdsa-", "sk-")


def host_key(given: str, option: str) -> str:
    """Return type and key in ssh's format; ``given`` is the key, or the path of a file with it.

    The file may be the server's ``.pub`` file, or have a line of known hosts (as ``ssh-keyscan``
    prints it). Raises ``ConfigurationError``, which names ``option``.
    """
    text = given
    if "/" in given.partition(" ")[0]:
        try:
            text = Path(given).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{option}: {given} can't be read: {error}.",
                hint="The file must exist and be readable by Atoll.",
            ) from error
    fields = text.split()
    if fields and not fields[0].startswith(_TYPES):
        del fields[0]
    if len(fields) < 2 or not fields[0].startswith(_TYPES):
        raise ConfigurationError(
            f"{option} is not a valid public key.",
            hint="Use the line in the server's /etc/ssh/ssh_host_ed25519_key.pub.",
        )
    return " ".join(fields[:2])
