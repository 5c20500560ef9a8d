"""What OpenStack's refusals and silences mean to us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keystoneauth1.exceptions import ClientException
from keystoneauth1.exceptions import ConnectionError as NoConnection
from openstack.exceptions import HttpException, SDKException, raise_from_response
from requests import Response

from atoll.errors import CloudError, CloudNotFound, CloudUnavailable, OutOfCapacity

_LATER = {408, 409, 425, 429, 500, 502, 503, 504}
"""409: Nova and Cinder say so of things that are in the middle of another change."""
_FULL = {413, 507}
_FULL_WORDS = ("quota", "exceed", "no more ip addresses", "no more free addresses", "insufficient")


def check(what: str, response: Response) -> None:
    """Raise what a refusal means: the operation, and the cloud's own words."""
    if response.status_code >= 400:
        with translated(what):
            raise_from_response(response)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the SDK's and Keystone's errors into ours."""
    try:
        yield
    except HttpException as error:
        raise _of_status(what, error.status_code or 0, str(error.details or error)) from error
    except NoConnection as error:
        raise CloudUnavailable(f"{what}: OpenStack does not answer: {error}") from error
    except ClientException as error:
        raise _of_status(
            what, error.http_status if hasattr(error, "http_status") else 0, str(error)
        ) from error
    except SDKException as error:
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
            hint="Check the credentials in clouds.yaml: has the user a role in the project?",
        )
    return CloudError(message)


def _says_full(words: str) -> bool:
    return any(sign in words.lower() for sign in _FULL_WORDS)
