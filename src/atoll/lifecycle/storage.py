"""The driver's private data in the database: every write requires the operation's fence.

Secrets (the login keys of service instances) are encrypted (see ``seal.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection

from atoll.db import private_data
from atoll.db.database import Database
from atoll.engine.operation import Operation
from atoll.lifecycle.seal import Seal


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
        self._acting().check_fence()

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
