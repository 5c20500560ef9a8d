"""Bearer tokens in ``X-Auth-Token``, looked up by their hash and remembered for a few seconds."""

from __future__ import annotations

from typing import Final

from atoll.api.auth.filter import AuthFilter
from atoll.api.auth.remembered import Remembered
from atoll.api.frame.edge import Application, Environ
from atoll.api.frame.policy import Identity
from atoll.db import tokens
from atoll.db.database import Database
from atoll.errors import Unauthenticated

REMEMBERED_SECONDS: Final = 5.0
"""A revoked token works at most this much longer."""
_LONGEST: Final = 512
_HELD: Final = (
    "This token is older than a restore of the service's database, after which an operator must "
    "confirm such tokens. Ask for a new token, or wait."
)


class TokenAuth(AuthFilter):
    """The embedded default.

    Only the token's SHA-256 is looked up, in an index and in a dictionary, so the time that
    takes tells nothing about the tokens that exist.
    """

    def __init__(self, inner: Application, database: Database) -> None:
        super().__init__(inner)
        self._database = database
        self._remembered = Remembered()

    def identify(self, environ: Environ) -> Identity | None:
        """The bearer, or None for an unknown or expired token.

        Raises ``Unauthenticated`` for a token of a restored backup that is not released yet.
        """
        token: str | None = environ.get("HTTP_X_AUTH_TOKEN")
        if not token or len(token) > _LONGEST:
            return None
        key = Remembered.key(token)
        known = self._remembered.get(key)
        if known is not None:
            return known
        with self._database.read() as connection:
            bearer = tokens.verify(connection, token)
        if bearer is None:
            self._remembered.forget(key)
            return None
        if bearer.held:
            raise Unauthenticated(_HELD)
        identity = Identity.of(bearer.user_id, bearer.project_id, bearer.roles)
        self._remembered.put(key, identity, REMEMBERED_SECONDS)
        return identity
