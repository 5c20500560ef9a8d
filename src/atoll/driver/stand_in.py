"""Warm share servers whose instances stand in for the lost ones of other servers (decision 31).

The instance, its keys and the port at which Atoll reaches it stay those of the warm server. The
volumes, the port for clients and the host name are those of the server that it stands in for.
"""

from __future__ import annotations

from typing import Final

from atoll.driver.fence import INSTANCE_ID
from atoll.driver.instance_builder import IMAGE_ID
from atoll.driver.storage import PrivateStorage
from atoll.model.keys import server_key

STAND_IN: Final = "stand_in"
"""Key of the id of the server whose instance a server uses; empty if it uses its own."""


class StandIns:
    """Which server uses the instance of which other one. ``owner`` is a share server's key."""

    def __init__(self, storage: PrivateStorage) -> None:
        self._storage = storage

    def of(self, owner: str) -> str | None:
        """Id of the server whose instance stands in for that of ``owner``; None if none does."""
        return self._storage.get(owner, STAND_IN) or None

    def keeper(self, owner: str) -> str:
        """Key of the server to which the keys of the instance belong."""
        stand_in = self.of(owner)
        return server_key(stand_in) if stand_in else owner

    def use(self, owner: str, stand_in: str | None) -> None:
        """Note that ``owner`` uses the instance of another server from now on, or its own."""
        if stand_in is None:
            if self.of(owner):
                self._storage.update(owner, {STAND_IN: ""})
            return
        known = {
            key: self._storage.get(server_key(stand_in), key) or ""
            for key in (INSTANCE_ID, IMAGE_ID)
        }
        if not known[INSTANCE_ID]:  # it was given up meanwhile
            self.use(owner, None)
            return
        # This is one write, so that nobody logs in to one instance with the keys of another.
        self._storage.update(owner, {STAND_IN: stand_in, **known})
