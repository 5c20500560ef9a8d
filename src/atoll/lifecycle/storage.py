"""The driver's memory in the database: every write carries the operation's fence.

Secrets (the login keys of service instances) are sealed with a key that lives in a file of its own,
so that neither the database nor a copy of it opens a service instance.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from atoll.db import private_data
from atoll.db.database import Database
from atoll.engine.operation import Operation
from atoll.errors import ConfigurationError


class Seal:
    """Encrypts and decrypts with the deployment's key."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(key)

    @classmethod
    def from_file(cls, path: Path) -> Seal:
        """Read the key, making it at first start (0600). Several workers must share the file."""
        try:
            return cls(path.read_bytes())
        except FileNotFoundError:
            pass
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails where another process was first: then its key counts
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return cls(path.read_bytes())

    def close(self, value: str) -> str:
        """Encrypt."""
        return self._fernet.encrypt(value.encode()).decode()

    def open(self, value: str) -> str:
        """Decrypt; ``ConfigurationError`` where the key file is not the one that sealed it."""
        try:
            return self._fernet.decrypt(value.encode()).decode()
        except InvalidToken as error:
            raise ConfigurationError(
                "A stored secret can't be opened with this deployment's key.",
                hint="Put back the file secret.key that belongs to this database.",
            ) from error


class DatabaseStorage:
    """The driver's ``PrivateStorage`` on ``driver_private_data``, bound to one operation."""

    def __init__(self, database: Database, seal: Seal, operation: Operation | None) -> None:
        self._database = database
        self._seal = seal
        self._operation = operation

    def get(self, resource: str, key: str) -> str | None:
        """One value, or None."""
        with self._database.read() as connection:
            value, sealed = private_data.read(connection, resource).get(key, (None, False))
        return self._seal.open(value) if sealed and value is not None else value

    def update(self, resource: str, values: Mapping[str, str], *, encrypt: bool = False) -> None:
        """Remember values. Raises ``LeaseLost`` when another worker has taken over."""
        if encrypt:
            values = {key: self._seal.close(value) for key, value in values.items()}
        with self._acting().transaction() as connection:
            private_data.write(connection, resource, values, encrypt)

    def delete(self, resource: str, key: str | None = None) -> None:
        """Forget a key, or everything of the resource."""
        with self._acting().transaction() as connection:
            private_data.forget(connection, resource, key)

    def _acting(self) -> Operation:
        if self._operation is None:
            raise AssertionError("this storage was opened for reading only")
        return self._operation
