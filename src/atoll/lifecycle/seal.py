"""The deployment's key, which encrypts secrets in the database.

The key is in a separate file, so that a copy of the database alone gives no access to service
instances. The database holds a sealed text by which a lost or wrong key is noticed at start. With a
wrong key Atoll could reach no instance, and would take all of them for dead.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import Connection

from atoll.db import facts, private_data
from atoll.db.database import Database
from atoll.errors import ConfigurationError

_SAMPLE = "sealed_sample"
"""The fact that holds the sealed text."""

_RESTORE = (
    "Restore the file secret.key that belongs to this database. Service instances continue to "
    "serve meanwhile."
)


class Seal:
    """Encrypts and decrypts with the deployment's key."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(key)

    @classmethod
    def from_file(cls, path: Path) -> Seal:
        """Read the key. Raises ``ConfigurationError`` if the file is missing or holds no key."""
        try:
            return cls(path.read_bytes())
        except FileNotFoundError as error:
            raise ConfigurationError(f"The key {path} is missing.", hint=_RESTORE) from error
        except ValueError as error:
            raise ConfigurationError(f"The file {path} holds no key.", hint=_RESTORE) from error

    def close(self, value: str) -> str:
        """Encrypt a value."""
        return self._fernet.encrypt(value.encode()).decode()

    def open(self, value: str) -> str:
        """Decrypt a value. Raises ``ConfigurationError`` if another key has encrypted it."""
        try:
            return self._fernet.decrypt(value.encode()).decode()
        except InvalidToken as error:
            raise ConfigurationError(
                "A stored secret can't be opened with this deployment's key.",
                hint=_RESTORE,
            ) from error


def open_seal(path: Path, database: Database) -> Seal:
    """The deployment's key, made at its first start. All workers must have the same file.

    Raises ``ConfigurationError`` if the database has sealed values that the key does not open. No
    key is made then, because nothing could be opened with it.
    """
    with database.begin() as connection:
        facts.lock(connection)  # only one process makes the key and the sealed text
        seal = check(path, connection)
        if seal is None:
            _make(path)
            seal = Seal.from_file(path)
        if facts.get(connection, _SAMPLE) is None:
            facts.put(connection, _SAMPLE, seal.close("atoll"))
        return seal


def check(path: Path, connection: Connection) -> Seal | None:
    """The key, if it opens what the database has sealed; None if nothing is sealed yet.

    Raises ``ConfigurationError`` if the key is missing or does not open it.
    """
    sealed = facts.get(connection, _SAMPLE) or private_data.any_encrypted(connection)
    if sealed is None:
        return None
    seal = Seal.from_file(path)
    seal.open(sealed)
    return seal


def forget_unused(connection: Connection) -> None:
    """Forget the key if nothing but the sealed text depends on it, so that there may be another."""
    if private_data.any_encrypted(connection) is None:
        facts.remove(connection, _SAMPLE)


def _make(path: Path) -> None:
    """Make a key (0600), unless there is one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(Fernet.generate_key())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # fails if there is one
    except FileExistsError:
        pass
    finally:
        draft.unlink()
