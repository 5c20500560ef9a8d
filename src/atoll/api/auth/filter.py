"""What all authentication filters share: open paths, the 401, and keystonemiddleware's keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from atoll.api import faults
from atoll.api.edge import Application, Environ, StartResponse
from atoll.api.policy import Identity

OPEN_PATHS: Final = frozenset({"", "/", "/v2", "/v2/", "/healthcheck", "/metrics"})
_SPOOFABLE: Final = (
    "HTTP_X_PROJECT_ID",
    "HTTP_X_TENANT_ID",
    "HTTP_X_USER_ID",
    "HTTP_X_ROLES",
    "HTTP_X_ROLE",
    "HTTP_X_IDENTITY_STATUS",
    "HTTP_X_IS_ADMIN_PROJECT",
    "HTTP_X_SYSTEM_SCOPE",
)


class AuthFilter:
    """Base of the filters: subclasses say who asks."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner

    def identify(self, environ: Environ) -> Identity | None:
        """Who asks; None refuses the request."""
        raise NotImplementedError

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on with its identity, or answer 401."""
        for name in _SPOOFABLE:
            environ.pop(name, None)
        if environ["PATH_INFO"] in OPEN_PATHS:
            return self._inner(environ, start_response)
        identity = self.identify(environ)
        if identity is None:
            return _refuse(start_response)
        environ["atoll.identity"] = identity
        # As keystonemiddleware sets them, for whatever WSGI filter an operator puts behind us.
        environ["HTTP_X_PROJECT_ID"] = identity.project_id
        environ["HTTP_X_USER_ID"] = identity.user_id
        environ["HTTP_X_ROLES"] = ",".join(sorted(identity.roles))
        environ["HTTP_X_IDENTITY_STATUS"] = "Confirmed"
        return self._inner(environ, start_response)


def _refuse(start_response: StartResponse) -> Iterable[bytes]:
    body = faults.body(401, "The request you have made requires authentication.")
    start_response(
        "401 Unauthorized",
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("WWW-Authenticate", 'Token realm="atoll"'),
        ],
    )
    return [body]
