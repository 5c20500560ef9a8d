"""The HTTP service, and Keystone in front of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from atoll.config.section import Seconds, Section


class Api(Section, frozen=True):
    """The HTTP service."""

    host: str = "127.0.0.1"
    """Address that the API listens on."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8786
    """Port that the API listens on."""
    threads: Annotated[int, Meta(gt=0)] = 8
    """Requests that one process answers at once."""
    processes: Annotated[int, Meta(gt=0)] = 1
    """Processes that answer; each counts its own ``/metrics``."""
    connections: Annotated[int, Meta(ge=16)] = 4096
    """Connections that one process keeps; where more come, those that idle longest are ended."""
    request_timeout: Seconds = 30
    """Seconds in which a request must come whole, and in which part of an answer must be taken."""
    idle_timeout: Seconds = 75
    """Seconds for which a connection without a request is kept."""
    auth_strategy: Literal["token", "keystone", "none"] = "token"
    """``token``: bearer tokens of our own; ``keystone``: OpenStack's, see table ``[keystone]``;
    ``none``: everybody on loopback is administrator."""
    public_url: str = ""
    """What links show, where a proxy stands in front; empty takes it from the request."""
    osapi_max_limit: Annotated[int, Meta(gt=0)] = 1000
    """Most entries in one page of a list."""
    max_request_bytes: Annotated[int, Meta(gt=0)] = 112 * 1024
    """Largest request body that is read."""
    policy_file: Path | None = None
    """oslo.policy overrides (YAML)."""


class Keystone(Section, frozen=True):
    """Keystone, in front of the API (``auth_strategy = "keystone"``), and our user there.

    The password is the first of ``password`` (better set as the environment variable
    ``ATOLL_KEYSTONE__PASSWORD``), ``password_file``, and ``keystone.password`` in the state
    directory.
    """

    auth_url: str = ""
    """Identity API as this machine reaches it, like ``http://controller:5000``."""
    www_authenticate_uri: str = ""
    """Identity API as clients reach it; empty: the same."""
    username: str = "atoll"
    """User that asks Keystone about tokens; it needs the role ``service`` in its project."""
    password: str = ""
    """That user's password."""
    password_file: Path | None = None
    """File whose first line is the password."""
    user_domain_name: str = "Default"
    """Domain of the user."""
    project_name: str = "service"
    """Project that the user is in."""
    project_domain_name: str = "Default"
    """Domain of that project."""
    region_name: str = ""
    """Region of this deployment; empty: the only one that there is."""
    interface: Literal["internal", "public", "admin"] = "internal"
    """Which of the Identity API's endpoints is asked."""
    cafile: Path | None = None
    """Certificate authorities that Keystone's certificate is checked by; empty: the system's."""
    http_connect_timeout: Seconds = 10
    """Seconds that Keystone may take for an answer."""
    memcached_servers: tuple[str, ...] = ()
    """``host:port`` of memcached servers where all API processes keep what Keystone has said of a
    token; without, each process asks again after five seconds."""
    token_cache_time: Annotated[int, Meta(gt=0)] = 300
    """Seconds that it is kept in memcached: so long a revoked token may go on working."""
    service_token_roles: tuple[str, ...] = ("service",)
    """Roles by which another service's token, sent along with a user's, is believed."""

    def __repr__(self) -> str:
        """Without the password."""
        return f"Keystone(auth_url={self.auth_url!r}, username={self.username!r}, …)"
