"""Which of Atoll's errors stands for which refusal, or for an answer that doesn't come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from keystoneauth1.exceptions import ClientException, DiscoveryFailure, HttpError
from keystoneauth1.exceptions import ConnectionError as NoConnection
from openstack.exceptions import (
    HttpException,
    NotSupported,
    SDKException,
    ServiceDiscoveryException,
    raise_from_response,
)
from requests import Response

from atoll.errors import CloudError, CloudNotFound, CloudUnavailable, OutOfCapacity

log = structlog.get_logger(__name__)

_LATER = {408, 409, 425, 429, 500, 502, 503, 504}
"""Nova and Cinder answer 409 about a resource that is being changed."""
_FULL = {413, 507}
_FULL_WORDS = ("quota", "exceed", "no more ip addresses", "no more free addresses", "insufficient")


def check(what: str, response: Response) -> None:
    """Raise the error for a refusal. It names the operation and has the cloud's own words."""
    if response.status_code >= 400:
        with translated(what):
            raise_from_response(response)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the SDK's and Keystone's errors into Atoll's.

    An unusable answer to version discovery is treated as an outage. A wrong endpoint looks the
    same, so the message names what was asked.
    """
    try:
        yield
    except HttpException as error:
        raise _of_status(what, error.status_code or 0, str(error.details or error)) from error
    except NoConnection as error:
        # It names hosts, so it is for operators only.
        log.info("openstack.no_answer", request=what, error=str(error))
        whose = "Keystone" if "/auth/tokens" in str(error) else "the service"
        raise CloudUnavailable(f"{what}: {whose} does not answer.") from error
    except (NotSupported, ServiceDiscoveryException) as error:
        log.info("openstack.not_found", request=what, error=str(error))
        raise CloudUnavailable(f"{what}: the service does not answer.") from error
    except DiscoveryFailure as error:
        log.info("openstack.not_found", request=what, error=str(error))
        whose = "Keystone" if "identity" in str(error) else "the service"
        raise CloudUnavailable(f"{what}: {whose} does not answer.") from error
    except HttpError as error:  # the session's own requests go to Keystone
        raise _of_status(f"{what}: Keystone", error.http_status, str(error)) from error
    except (ClientException, SDKException) as error:
        raise CloudError(f"{what}: {error}") from error


def _of_status(what: str, status: int, words: str) -> CloudError:
    message = f"{what}: {words}"
    if status == 404:
        return CloudNotFound(message)
    if status in _FULL or (status in (403, 409) and _says_full(words)):
        return OutOfCapacity(message)
    if status in _LATER:
        return CloudUnavailable(message)
    if status == 401:
        return CloudError(
            message,
            hint="Check the credentials in clouds.yaml: does the user have a role in the project?",
        )
    return CloudError(message)


def _says_full(words: str) -> bool:
    return any(sign in words.lower() for sign in _FULL_WORDS)
