"""Who a token belongs to, remembered for a few seconds, so that a burst is one look-up."""

from __future__ import annotations

import hashlib
import time
from typing import Final

from atoll.api.frame.policy import Identity

_MOST: Final = 4096


class Remembered:
    """Keeps identities by the SHA-256 of their tokens; never a token itself."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[float, Identity]] = {}

    @staticmethod
    def key(token: str) -> bytes:
        """What a token is known by."""
        return hashlib.sha256(token.encode("latin-1")).digest()

    def get(self, key: bytes) -> Identity | None:
        """The bearer, while it is remembered."""
        known = self._known.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        return None

    def put(self, key: bytes, identity: Identity, seconds: float) -> None:
        """Remember a bearer for so long."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key] = (time.monotonic() + seconds, identity)

    def forget(self, key: bytes) -> None:
        """The token is valid no more."""
        self._known.pop(key, None)
