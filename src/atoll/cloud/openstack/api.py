"""One service's REST API, by way of openstacksdk's adapters.

Requests and answers are plain JSON, because the SDK's resource classes cost more than the request
and hide which microversion is used. Requests that may safely be repeated are repeated when a
service is silent or busy. A request that makes something is not: callers first look for what an
unanswered request may have made.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

import structlog
from openstack.connection import Connection
from prometheus_client import Counter
from requests import Response

from atoll.cloud.openstack.failures import check, translated
from atoll.cloud.sole import repeated
from atoll.errors import CloudNotFound, CloudUnavailable

log = structlog.get_logger(__name__)

REQUESTS = Counter(
    "atoll_cloud_requests", "Requests to OpenStack's services", ["service", "method"]
)
ANSWER_SECONDS = 60.0
"""Longest time that a service may take to answer."""
UPLOAD_SECONDS = 600.0
"""The same for each read and write of an upload."""

Json = dict[str, Any]


class Api:
    """The API of ``service_type``, at the one ``microversion`` that Atoll is written for."""

    def __init__(self, connection: Connection, service_type: str, microversion: str = "") -> None:
        self.service_type = service_type
        self._connection = connection
        self._microversion = microversion or None

    # --- reading ------------------------------------------------------------------------------

    def get(self, path: str, **query: Any) -> Json:
        """The answer to a GET request. Raises ``CloudNotFound``."""
        return _json(self._repeated("GET", path, params=query))

    def find(self, path: str, **query: Any) -> Json | None:
        """The answer to a GET request, or None if there is no such resource."""
        try:
            return self.get(path, **query)
        except CloudNotFound:
            return None

    def list(self, path: str, key: str, **query: Any) -> Iterator[Json]:
        """All entries of a list, page by page."""
        while True:
            page = self.get(path, **query)
            listed = page.get(key)
            if not isinstance(listed, list):
                raise CloudUnavailable(
                    f"{self.service_type} GET {path}: the answer has no list of {key}."
                )
            yield from listed
            following = _next(page.get(f"{key}_links"))
            if not following:
                return
            query = {**query, **dict(parse_qsl(urlsplit(following).query))}

    # --- changing -----------------------------------------------------------------------------

    def post(self, path: str, body: Mapping[str, Any]) -> Json:
        """Make or start something. The request is sent once."""
        return _json(self._request("POST", path, json=body))

    def put(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """Change something. The request is repeated when there is no answer."""
        return _json(self._repeated("PUT", path, json=body))

    def upload(self, path: str, content: IO[bytes]) -> None:
        """Send a file's content, however long that takes."""
        headers = {"Content-Type": "application/octet-stream"}
        self._request("PUT", path, data=content, headers=headers, timeout=UPLOAD_SECONDS)

    def delete(self, path: str, **query: Any) -> bool:
        """Remove something. Returns False if it was gone already."""
        try:
            self._repeated("DELETE", path, params=query)
        except CloudNotFound:
            return False
        return True

    # --- how ----------------------------------------------------------------------------------

    def _repeated(self, method: str, path: str, **options: Any) -> Response:
        return repeated(lambda: self._request(method, path, **options))

    def _request(self, method: str, path: str, **options: Any) -> Response:
        what = f"{self.service_type} {method} {path}"
        REQUESTS.labels(self.service_type, method).inc()
        begun = time.monotonic()
        with translated(what):
            response = self._send(method, path, **options)
            if response.status_code == 401 and "data" not in options:
                # The token has expired. The SDK gets another one, but only for the first thread
                # that notices. The others are told 401 and get the new token when they ask again.
                response = self._send(method, path, **options)
        seconds = round(time.monotonic() - begun, 3)
        log.debug("openstack.request", what=what, status=response.status_code, seconds=seconds)
        check(what, response)
        return response

    def _send(self, method: str, path: str, **options: Any) -> Response:
        response: Response = self._adapter().request(
            path,
            method,
            microversion=self._microversion,
            raise_exc=False,
            **{"timeout": ANSWER_SECONDS, **options},
        )
        return response

    def _adapter(self) -> Any:
        return getattr(self._connection, self.service_type.replace("-", "_"))


def _json(response: Response) -> Json:
    """The answer's JSON object. Raises ``CloudUnavailable`` if it is something else."""
    try:
        answer = response.json() if response.content else {}
    except ValueError as error:
        raise CloudUnavailable(f"The answer of {response.url} is not JSON.") from error
    if not isinstance(answer, dict):
        raise CloudUnavailable(f"The answer of {response.url} is not a JSON object.")
    return answer


def _next(links: Any) -> str:
    """The address of the list's next page, or an empty string if this is the last."""
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "next":
            return str(link.get("href", ""))
    return ""


def part(answer: Json | None, key: str) -> Json:
    """The part of an answer under ``key``. Raises ``CloudUnavailable`` if it is missing."""
    found = answer.get(key) if answer else None
    if not isinstance(found, dict):
        raise CloudUnavailable(f"OpenStack answered without a {key}.")
    return found
