"""What the driver stores about a resource and must not lose: ids, pins and keys.

An id is stored as soon as it is known and before it is used. A write raises ``LeaseLost`` if
another worker has taken the operation over. ``check_current`` raises the same without a write;
it comes before an instance, a volume or a snapshot is deleted, and before an instance is reset.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol


class PrivateStorage(Protocol):
    """Text values by resource and key."""

    def get(self, resource: str, key: str) -> str | None:
        """One value, or None."""

    def update(self, resource: str, values: Mapping[str, str], *, encrypt: bool = False) -> None:
        """Set values, keeping those of other keys. Raises ``LeaseLost`` in an outdated worker."""

    def delete(self, resource: str, key: str | None = None) -> None:
        """Delete one key, or the resource as a whole. It may be absent."""

    def check_current(self) -> None:
        """Raise ``LeaseLost`` in an outdated worker."""


class MemoryStorage:
    """Storage for simulations and tests, which ends with the process."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, str]] = {}
        self._encrypted: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def get(self, resource: str, key: str) -> str | None:
        """One value, or None."""
        with self._lock:
            return self._values.get(resource, {}).get(key)

    def update(self, resource: str, values: Mapping[str, str], *, encrypt: bool = False) -> None:
        """Set values, keeping those of other keys."""
        with self._lock:
            self._values.setdefault(resource, {}).update(values)
            for key in values:
                (self._encrypted.add if encrypt else self._encrypted.discard)((resource, key))

    def delete(self, resource: str, key: str | None = None) -> None:
        """Forget one key, or the resource as a whole."""
        with self._lock:
            if key is None:
                self._values.pop(resource, None)
            else:
                self._values.get(resource, {}).pop(key, None)

    def check_current(self) -> None:
        """Return always, because no other process sees this storage."""

    def resources(self) -> list[str]:
        """All resources that something is stored about."""
        with self._lock:
            return sorted(resource for resource, values in self._values.items() if values)

    def in_clear(self) -> list[str]:
        """Every value that was stored without encryption. None of them may be a secret."""
        with self._lock:
            return [
                value
                for resource, values in self._values.items()
                for key, value in values.items()
                if (resource, key) not in self._encrypted
            ]
