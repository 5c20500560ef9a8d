"""No authentication: everybody is administrator. Only for requests from this machine itself.

A browser on this machine runs pages of other sites, and those can send requests here. So a request
must name this machine in ``Host`` (after DNS rebinding it names the attacker's host), must not come
from a page of another site, and may not have a body that a page can send without a CORS preflight.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from atoll.api.auth.filter import AuthFilter
from atoll.api.frame.edge import Application, Environ
from atoll.api.frame.policy import Identity
from atoll.config import Settings
from atoll.errors import Forbidden

PROJECT: Final = "default"
_EVERYBODY: Final = Identity.of("admin", PROJECT, ("admin",))
_PORT: Final = re.compile(r":[0-9]*$")
_OWN_SITES: Final = frozenset({"", "same-origin", "none"})
"""``Sec-Fetch-Site`` of requests that no other site's page has sent (``none``: the address bar)."""


class NoAuth(AuthFilter):
    """Lets loopback in as the administrator of one project, and nobody else at all."""

    def __init__(self, inner: Application, settings: Settings) -> None:
        super().__init__(inner)
        self._public = urlsplit(settings.api.public_url).netloc.lower()

    def identify(self, environ: Environ) -> Identity | None:
        """The administrator; None for a request from another machine.

        Raises ``Forbidden`` for one that a web page may have sent.
        """
        address = environ.get("REMOTE_ADDR", "")
        if address and not _is_loopback(address):  # "" is a UNIX socket
            return None
        named = environ.get("HTTP_HOST", "").lower()
        if not self._is_here(named):
            raise Forbidden(
                "Without authentication, requests must name this machine as localhost.",
                hint="Use localhost, 127.0.0.1 or [::1], or set api.public_url.",
            )
        origin = environ.get("HTTP_ORIGIN")
        own = (named, self._public)
        foreign = origin is not None and urlsplit(origin.lower()).netloc not in filter(None, own)
        if foreign or environ.get("HTTP_SEC_FETCH_SITE", "") not in _OWN_SITES:
            raise Forbidden("Without authentication, pages of other sites may send no requests.")
        if _has_body(environ) and not _is_json(environ.get("CONTENT_TYPE", "")):
            raise Forbidden(
                "Without authentication, request bodies must be application/json.",
                hint="Send the header Content-Type: application/json.",
            )
        return _EVERYBODY

    def _is_here(self, netloc: str) -> bool:
        host = _host(netloc)
        if not host:
            return False
        return host in ("localhost", _host(self._public)) or _is_loopback(host)


def _host(netloc: str) -> str:
    """The host of ``host:port``, without a user, in lower case, without brackets."""
    if "@" in netloc:
        return ""
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0].lower()
    return _PORT.sub("", netloc).lower().removesuffix(".")


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _has_body(environ: Environ) -> bool:
    return environ.get("CONTENT_LENGTH", "") not in ("", "0") or bool(
        environ.get("HTTP_TRANSFER_ENCODING")
    )


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"
