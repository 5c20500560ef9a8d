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
    """Requests that one process handles at once."""
    processes: Annotated[int, Meta(gt=0)] = 1
    """Number of processes; each has its own ``/metrics``."""
    connections: Annotated[int, Meta(ge=16)] = 4096
    """Connections of one process; when there are more, those that are idle longest are closed."""
    request_timeout: Seconds = 30
    """Seconds for receiving a whole request, and for sending each part of an answer."""
    idle_timeout: Seconds = 75
    """Seconds after which a connection without a request is closed."""
    auth_strategy: Literal["token", "keystone", "none"] = "token"
    """``token``: Atoll's own bearer tokens; ``keystone``: Keystone's tokens, see ``[keystone]``;
    ``none``: no authentication, and all users of this machine are administrators."""
    public_url: str = ""
    """URL in links, e.g. that of a proxy; empty: the URL of the request."""
    osapi_max_limit: Annotated[int, Meta(gt=0)] = 1000
    """Maximum number of entries on one page of a list."""
    max_request_bytes: Annotated[int, Meta(gt=0)] = 112 * 1024
    """Size of the largest request body in bytes."""
    policy_file: Path | None = None
    """YAML file with overrides for oslo.policy."""


class Keystone(Section, frozen=True):
    """Keystone (for ``auth_strategy = "keystone"``), and Atoll's user there.

    The password is the first of ``password`` (better set as the environment variable
    ``ATOLL_KEYSTONE__PASSWORD``), ``password_file``, and ``keystone.password`` in the state
    directory.
    """

    auth_url: str = ""
    """URL of the Identity API for this machine, e.g. ``http://controller:5000``."""
    www_authenticate_uri: str = ""
    """URL of the Identity API for clients; empty: the same."""
    username: str = "atoll"
    """User that validates tokens; it needs the role ``service`` in its project."""
    password: str = ""
    """That user's password."""
    password_file: Path | None = None
    """File whose first line is the password."""
    user_domain_name: str = "Default"
    """Domain of the user."""
    project_name: str = "service"
    """Project of the user."""
    project_domain_name: str = "Default"
    """Domain of that project."""
    region_name: str = ""
    """Region of this deployment; empty: Keystone's only region."""
    interface: Literal["internal", "public", "admin"] = "internal"
    """Endpoint of the Identity API that is used."""
    cafile: Path | None = None
    """File of certificate authorities for Keystone's certificate; empty: the system's."""
    http_connect_timeout: Seconds = 10
    """Longest time for an answer of Keystone in seconds."""
    memcached_servers: tuple[str, ...] = ()
    """``host:port`` of memcached servers in which all API processes cache validated tokens.
    Without them, each process validates a token again after five seconds."""
    token_cache_time: Annotated[int, Meta(gt=0)] = 300
    """Seconds for which tokens are cached in memcached. A revoked token may work that long."""
    service_token_roles: tuple[str, ...] = ("service",)
    """Roles that another service's token needs to be accepted together with a user's token."""

    def __repr__(self) -> str:
        """Omit the password."""
        return f"Keystone(auth_url={self.auth_url!r}, username={self.username!r}, …)"
