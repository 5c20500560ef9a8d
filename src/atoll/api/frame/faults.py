"""Errors as Manila shows them: ``{"itemNotFound": {"code": 404, "message": "…"}}``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import falcon
import msgspec
import structlog
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from atoll import errors
from atoll.db.database import is_full

log = structlog.get_logger(__name__)

_NAMES: Final = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}

_CODES: Final[tuple[tuple[type[errors.AtollError], int], ...]] = (
    (errors.Unauthenticated, 401),
    (errors.QuotaExceeded, 413),
    (errors.BodyTooLarge, 413),
    (errors.Unprocessable, 422),
    (errors.NotAcceptable, 406),
    (errors.Invalid, 400),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Forbidden, 403),
    (errors.KeystoneUnavailable, 503),
    (errors.DiskFull, 507),
)
"""The first that fits counts, so the special ones stand before the general ones."""

DATABASE_AWAY: Final = "The database does not answer at the moment. Try again shortly."
UNKNOWN: Final = (
    "The server has either erred or is incapable of performing the requested operation."
)


def body(code: int, message: str) -> bytes:
    """The fault's JSON."""
    return msgspec.json.encode({name_of(code): _fault(code, message)})


def name_of(code: int) -> str:
    """The key that Manila's faults of this status have."""
    return _NAMES.get(code, "computeFault")


def _fault(code: int, message: str) -> dict[str, Any]:
    fault: dict[str, Any] = {"code": code, "message": message}
    if code in (413, 429):
        fault["retryAfter"] = "0"
    return fault


def code_of(error: errors.AtollError) -> int:
    """The HTTP status that an error is answered with; 500 for those no caller should meet."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), 500)


def fill(response: falcon.Response, code: int, message: str) -> None:
    """Make a response this fault."""
    response.status = code
    response.content_type = falcon.MEDIA_JSON
    response.data = body(code, message)
    if code in (413, 429):
        response.set_header("Retry-After", "0")


def of(error: errors.AtollError, environ: dict[str, Any]) -> tuple[int, str]:
    """The status and the sentence that an error of ours is answered with.

    The caller gets the error's public sentence; an error that no caller should cause is logged.
    """
    code = code_of(error)
    if code == HTTPStatus.INTERNAL_SERVER_ERROR:
        return code, _logged(error, environ)
    return code, error.answer


def on_atoll_error(
    request: falcon.Request, response: falcon.Response, error: errors.AtollError, params: object
) -> None:
    """Our own errors say what to answer."""
    fill(response, *of(error, request.env))


def on_http_error(
    request: falcon.Request, response: falcon.Response, error: falcon.HTTPError, params: object
) -> None:
    """Falcon's own: no such route, no such method, malformed request line."""
    code, headers = error.status_code, dict(error.headers or {})
    if code == HTTPStatus.METHOD_NOT_ALLOWED and request.path.startswith("/v2/"):
        # Manila routes by method and path, so a method that a path does not have is a 404.
        code, headers = HTTPStatus.NOT_FOUND, {}
    if code == HTTPStatus.NOT_FOUND:
        message = "The resource could not be found."
    else:
        message = error.description or error.title or "The request was refused."
    for name, value in headers.items():
        response.set_header(name, value)
    fill(response, code, message)


def on_database(
    request: falcon.Request, response: falcon.Response, error: Exception, params: object
) -> None:
    """The database does not answer: say so, and that it may pass."""
    log_database(error)
    if is_full(error):
        fill(response, 507, errors.DiskFull().answer)
        return
    fill(response, 503, DATABASE_AWAY)
    response.set_header("Retry-After", "5")


def log_database(error: Exception) -> None:
    """What the caller is not told of the database."""
    log.error("database unavailable", error=str(error.__cause__ or error))


def on_integrity(
    request: falcon.Request, response: falcon.Response, error: Exception, params: object
) -> None:
    """Two requests met, and this one came second: what it refers to has just gone."""
    log.warning("request lost a race", error=str(error.__cause__ or error))
    fill(response, 409, "Something that this request needs has just been changed. Try again.")


def on_data(
    request: falcon.Request, response: falcon.Response, error: Exception, params: object
) -> None:
    """A value that no check had refused does not fit into its column."""
    log.warning("value refused by the database", error=str(error.__cause__ or error))
    fill(response, 400, "The request contains a value that is too long or too large to be stored.")


def on_unknown(
    request: falcon.Request, response: falcon.Response, error: Exception, params: object
) -> None:
    """A defect of ours: the log has it all, the caller gets the request id to quote."""
    fill(response, 500, _logged(error, request.env))


def _logged(error: Exception, environ: dict[str, Any]) -> str:
    log.error(
        "unhandled error",
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"],
        exc_info=error,
    )
    return f"{UNKNOWN} Request id: {environ.get('atoll.request_id', '')}."


HANDLERS: Final[tuple[tuple[type[Exception], Any], ...]] = (
    (Exception, on_unknown),
    (IntegrityError, on_integrity),
    (DataError, on_data),
    (OperationalError, on_database),
    (InterfaceError, on_database),
    (PoolTimeoutError, on_database),
    (falcon.HTTPError, on_http_error),
    (errors.AtollError, on_atoll_error),
)
