"""The driver's private data in the database: every write requires the operation's fence.

Secrets (the login keys of service instances) are encrypted with a key in a separate file, so that
a copy of the database alone gives no access to service instances.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import Connection

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
        """Read the key; make it at first start (0600). All workers must use the same file."""
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
            os.link(draft, path)  # fails if another process was first; its key is used then
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return cls(path.read_bytes())

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
                hint="Restore the file secret.key that belongs to this database.",
            ) from error


class DatabaseStorage:
    """The driver's ``PrivateStorage`` on ``driver_private_data``, bound to one operation.

    The values of the operation's own resource are read only once, because no other operation stores
    anything that this one must see. Those of other resources are read each time.
    """

    def __init__(self, database: Database, seal: Seal, operation: Operation | None) -> None:
        self._database = database
        self._seal = seal
        self._operation = operation
        self._own: dict[str, dict[str, tuple[str, bool]]] = {}

    def get(self, resource: str, key: str) -> str | None:
        """One value, or None if it is not set."""
        value, sealed = self._values(resource).get(key, (None, False))
        return self._seal.open(value) if sealed and value is not None else value

    def update(self, resource: str, values: Mapping[str, str], *, encrypt: bool = False) -> None:
        """Store values. Raises ``LeaseLost`` if another worker has taken over."""
        if encrypt:
            values = {key: self._seal.close(value) for key, value in values.items()}
        with self._changing() as connection:
            private_data.write(connection, resource, values, encrypt)

    def delete(self, resource: str, key: str | None = None) -> None:
        """Delete one key, or all keys of the resource."""
        with self._changing() as connection:
            private_data.forget(connection, resource, key)

    def check_current(self) -> None:
        """Raise ``LeaseLost`` if another worker has taken over."""
        with self._acting().transaction():
            pass

    def _values(self, resource: str) -> Mapping[str, tuple[str, bool]]:
        # A write begins a new dictionary. What another thread read before that write is then put
        # into the old one, which is not used any more.
        own = self._own
        if resource in own:
            return own[resource]
        with self._database.read() as connection:
            values = private_data.read(connection, resource)
        if self._operation is not None and resource == self._operation.resource:
            own[resource] = values
        return values

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        try:
            with self._acting().transaction() as connection:
                yield connection
        finally:
            self._own = {}

    def _acting(self) -> Operation:
        if self._operation is None:
            raise AssertionError("this storage was opened for reading only")
        return self._operation
