"""No authentication: everybody is administrator. Only for requests from this machine itself."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from atoll.api.auth.filter import AuthFilter
from atoll.api.edge import Environ
from atoll.api.policy import Identity

PROJECT: Final = "default"
_EVERYBODY: Final = Identity.of("admin", PROJECT, ("admin",))


class NoAuth(AuthFilter):
    """Lets loopback in as the administrator of one project, and nobody else at all."""

    def identify(self, environ: Environ) -> Identity | None:
        """The administrator; None for a request from another machine."""
        address = environ.get("REMOTE_ADDR", "")
        if not address:  # a UNIX socket
            return _EVERYBODY
        try:
            return _EVERYBODY if ip_address(address).is_loopback else None
        except ValueError:
            return None
