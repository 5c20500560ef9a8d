"""What all authentication filters share: open paths, the refusals, keystonemiddleware's keys."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from atoll.api.frame import faults
from atoll.api.frame.edge import Application, Environ, StartResponse
from atoll.api.frame.policy import Identity
from atoll.errors import AtollError

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
    "HTTP_OPENSTACK_SYSTEM_SCOPE",
)


class AuthFilter:
    """Base of the filters: subclasses say who asks."""

    challenge = 'Token realm="atoll"'
    """``WWW-Authenticate`` of a 401."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner

    def identify(self, environ: Environ) -> Identity | None:
        """Who asks; None refuses the request."""
        raise NotImplementedError

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on with its identity, or answer 401, or why nobody can say who asks."""
        for name in _SPOOFABLE:
            environ.pop(name, None)
        if environ["PATH_INFO"] in OPEN_PATHS:
            return self._inner(environ, start_response)
        try:
            identity = self.identify(environ)
        except AtollError as error:
            return _refuse(start_response, *faults.of(error, environ))
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            faults.log_database(error)
            return _refuse(start_response, 503, faults.DATABASE_AWAY)
        if identity is None:
            message = "The request you have made requires authentication."
            return _refuse(start_response, 401, message, ("WWW-Authenticate", self.challenge))
        environ["atoll.identity"] = identity
        # As keystonemiddleware sets them, for whatever WSGI filter an operator puts behind us.
        environ["HTTP_X_PROJECT_ID"] = identity.project_id
        environ["HTTP_X_USER_ID"] = identity.user_id
        environ["HTTP_X_ROLES"] = ",".join(sorted(identity.roles))
        environ["HTTP_X_IDENTITY_STATUS"] = "Confirmed"
        return self._inner(environ, start_response)


def _refuse(
    start_response: StartResponse, code: int, message: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    body = faults.body(code, message)
    start_response(
        f"{code} {HTTPStatus(code).phrase}",
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            *([("Retry-After", "5")] if code == HTTPStatus.SERVICE_UNAVAILABLE else []),
            *headers,
        ],
    )
    return [body]
