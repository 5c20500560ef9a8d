"""Keystone's tokens: keystonemiddleware's ``auth_token`` asks Keystone, and we answer the client.

It needs the extra ``[openstack]``; nothing but ``auth_strategy = "keystone"`` imports this module.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog
from keystoneauth1 import loading
from keystoneauth1.exceptions import ClientException
from keystonemiddleware.auth_token import AuthProtocol, list_opts
from oslo_config import cfg

from atoll.api.auth import service_user
from atoll.api.auth.filter import AuthFilter
from atoll.api.auth.remembered import Remembered
from atoll.api.frame.edge import Application, Environ, StartResponse
from atoll.api.frame.policy import Identity
from atoll.config import Settings
from atoll.errors import Forbidden, KeystoneUnavailable

REMEMBERED_SECONDS: Final = 5.0
"""A revoked token works at most this much longer, unless memcached remembers it, too."""
SERVICE_TYPE: Final = "shared-file-system"
"""What the access rules of application credentials call us."""

_TOKEN: Final = re.compile(r"[!-~]{1,8000}")
_GROUP: Final = "keystone_authtoken"
_NO_CACHE: Final = "atoll.no_cache"

log = structlog.get_logger(__name__)


class KeystoneAuth(AuthFilter):
    """Lets in whom Keystone knows."""

    def __init__(self, inner: Application, settings: Settings) -> None:
        super().__init__(inner)
        clients = settings.keystone.www_authenticate_uri or service_user.auth_url(settings)
        self.challenge = f'Keystone uri="{clients}"'
        self._remembered = Remembered()
        # It tells Keystone's words on each bad token, and those may hold the token.
        logging.getLogger("keystonemiddleware").setLevel(logging.WARNING)
        self._auth_token = AuthProtocol(_accept, {"oslo_config_config": _options(settings)})

    def identify(self, environ: Environ) -> Identity | None:
        """The bearer, or None for a token that Keystone does not confirm.

        Raises ``KeystoneUnavailable``, and ``Forbidden`` for a token without scope.
        """
        sent = [environ.get(f"HTTP_X_{kind}_TOKEN", "").strip() for kind in ("AUTH", "SERVICE")]
        token, service_token = sent
        if not _TOKEN.fullmatch(token) or (service_token and not _TOKEN.fullmatch(service_token)):
            return None  # and Keystone need not be asked what it could not even be sent
        key = Remembered.key("\n".join(sent))
        known = self._remembered.get(key)
        if known is not None:
            return known
        confirmed = self._ask(environ)
        if confirmed is None:
            self._remembered.forget(key)
            return None
        identity = _identity(confirmed)
        if not _depends_on_request(confirmed):
            self._remembered.put(key, identity, REMEMBERED_SECONDS)
        return identity

    def _ask(self, environ: Environ) -> Mapping[str, Any] | None:
        """What Keystone says of the request's token; None if it is not valid."""
        asked = {**environ, _NO_CACHE: _NoCache()}  # a copy: what the middleware sets, stays in it
        answers: list[str] = []

        def start(status: str, headers: object, exc_info: object = None) -> None:
            answers.append(status[:3])

        try:
            self._auth_token(asked, start)
        except ClientException as error:
            log.error("keystone not asked", error=str(error))
            raise KeystoneUnavailable from error
        if answers == ["401"]:
            return None
        if answers != ["204"]:
            raise KeystoneUnavailable
        token: Mapping[str, Any] = asked["keystone.token_info"]["token"]
        return token


def _accept(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """What stands behind the middleware: reached if it lets the request pass."""
    start_response("204 No Content", [])
    return []


def _identity(token: Mapping[str, Any]) -> Identity:
    """From the token itself: a service token sent along would change some of the headers."""
    project = token.get("project", {}).get("id", "")
    system = "all" if token.get("system", {}).get("all") else ""
    if not project and not system:
        raise Forbidden(
            "Your token is not scoped to a project.",
            hint="Ask Keystone for one that is, e.g. with OS_PROJECT_NAME.",
        )
    roles = (role["name"] for role in token.get("roles", ()))
    return Identity.of(token["user"]["id"], project, roles, system)


def _depends_on_request(token: Mapping[str, Any]) -> bool:
    """Whether the token holds for some requests, or some connections, only."""
    restricted = token.get("application_credential", {}).get("access_rules") is not None
    return restricted or bool(token.get("bind"))


class _NoCache:
    """In place of the middleware's own memory in the process, which has no bounds."""

    def get(self, key: str) -> None:
        """Nothing is known."""

    def set(self, key: str, value: bytes, time: int) -> None:
        """Nothing is kept."""


def _secret(settings: Settings) -> str:
    """The key that entries in memcached are signed and encrypted with.

    It is derived from our user's password, which only the hosts of the API have.
    """
    secret = service_user.password(settings).encode()
    return hmac.new(secret, b"atoll memcached entries", hashlib.sha256).hexdigest()


def _options(settings: Settings) -> cfg.ConfigOpts:
    """The middleware's options, as it would read them from a service's configuration."""
    keystone = settings.keystone
    chosen = {
        "auth_type": "password",
        "auth_url": service_user.auth_url(settings),
        "username": keystone.username,
        "password": service_user.password(settings),
        "user_domain_name": keystone.user_domain_name,
        "project_name": keystone.project_name,
        "project_domain_name": keystone.project_domain_name,
        "www_authenticate_uri": keystone.www_authenticate_uri or keystone.auth_url,
        "interface": keystone.interface,
        "region_name": keystone.region_name or None,
        "cafile": str(keystone.cafile) if keystone.cafile else None,
        "http_connect_timeout": max(1, round(keystone.http_connect_timeout)),
        "http_request_max_retries": 1,
        "memcached_servers": list(keystone.memcached_servers) or None,
        # Memcached holds tokens, and anybody who can write there could make himself administrator.
        "memcache_security_strategy": "ENCRYPT" if keystone.memcached_servers else "None",
        "memcache_secret_key": _secret(settings) if keystone.memcached_servers else None,
        "cache": None if keystone.memcached_servers else _NO_CACHE,
        "token_cache_time": keystone.token_cache_time,
        "service_token_roles": list(keystone.service_token_roles),
        "service_token_roles_required": True,
        "service_type": SERVICE_TYPE,
    }
    options = cfg.ConfigOpts()
    options([], project="atoll", default_config_files=[], default_config_dirs=[])
    for group, known in list_opts():
        options.register_opts(known, group=group)
    options.register_opts(loading.get_auth_plugin_conf_options("password"), group=_GROUP)
    for name, value in chosen.items():
        options.set_override(name, value, group=_GROUP)
    return options
