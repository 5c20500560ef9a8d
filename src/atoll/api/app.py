"""The WSGI application: ``create_app(settings, database)``.

From the outside in: ``Edge`` (request id, metrics, clean paths), an authentication filter,
Falcon with the routes of the resource modules.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any, Final

import falcon
import msgspec

from atoll.api.auth.none import NoAuth
from atoll.api.auth.token import TokenAuth
from atoll.api.frame import faults, openapi, versions
from atoll.api.frame.call import Service, UsersNetworks
from atoll.api.frame.edge import Application, Edge, Metrics, base_url, is_host
from atoll.api.frame.health import Healthcheck, MetricsPage
from atoll.api.frame.policy import Policy
from atoll.api.frame.routing import mount
from atoll.api.site import projects
from atoll.capabilities import yes_or_no
from atoll.config import Settings
from atoll.db.database import Database
from atoll.errors import ConfigurationError, Invalid

_MODULES: Final = {
    "shares": ("shares", "create", "actions", "access_rules", "export_locations", "snapshots"),
    "networks": ("share_networks", "update", "subnets", "share_servers", "security_services"),
    "types": ("share_types", "access"),
    "quotas": ("sets", "class_sets", "limits"),
    "site": (
        "services",
        "pools",
        "availability_zones",
        "messages",
        "projects",
        "extensions",
        "unsupported",
    ),
}
"""Resource modules by folder."""
RESOURCES: Final[tuple[ModuleType, ...]] = tuple(
    import_module(f"{__package__}.{folder}.{name}")
    for folder, names in _MODULES.items()
    for name in names
)
"""Modules with ``routes`` (and ``RULES``, where they have policy rules of their own)."""


class _Negotiation:
    """Falcon middleware: the microversion, and the route's name for the metrics."""

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Read the version before anything else can fail, so that every answer echoes it."""
        environ = request.env
        if environ["PATH_INFO"].startswith("/v2"):
            number = versions.requested(environ.get("HTTP_X_OPENSTACK_MANILA_API_VERSION"))
            environ["atoll.version_number"] = number
            environ["atoll.version"] = versions.text(number)
            asked = environ.get("HTTP_X_OPENSTACK_MANILA_API_EXPERIMENTAL")
            if asked is not None and yes_or_no(asked):
                environ["atoll.experimental"] = True
        if not is_host(environ.get("HTTP_HOST", "localhost")):
            raise Invalid("The header Host is malformed.")
        if "\0" in environ["PATH_INFO"]:
            raise Invalid("The path contains a NUL character.")

    def process_resource(
        self,
        request: falcon.Request,
        response: falcon.Response,
        resource: object,
        params: dict[str, Any],
    ) -> None:
        """The route is known now."""
        request.env["atoll.route"] = (request.uri_template or "").replace(":path}", "}")


class _Versions:
    """``GET /`` (300: choose one) and ``GET /v2/``."""

    def __init__(self, service: Service, status: int) -> None:
        self._public_url = service.settings.api.public_url
        self._status = status

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The versions, with the highest microversion."""
        response.status = self._status
        response.content_type = falcon.MEDIA_JSON
        document = versions.document(base_url(request, self._public_url))
        response.data = msgspec.json.encode(document)


class _V2:
    """``GET /v2`` leads to ``/v2/``."""

    def __init__(self, service: Service) -> None:
        self._public_url = service.settings.api.public_url

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Redirect."""
        response.status = 302
        response.location = f"{base_url(request, self._public_url)}/v2/"


def create_app(settings: Settings, database: Database) -> Application:
    """Everything wired together; any WSGI server can serve it."""
    policies: dict[str, str] = {}
    resources = [module for module in RESOURCES if _is_served(module, settings)]
    for module in resources:
        policies.update(getattr(module, "RULES", {}))
    policy = Policy(policies, settings.api.policy_file)
    service = Service(settings, database, policy, _users_networks(settings))
    metrics = Metrics()
    app: falcon.App[falcon.Request, falcon.Response] = falcon.App(middleware=[_Negotiation()])
    app.req_options.strip_url_path_trailing_slash = False
    app.req_options.auto_parse_qs_csv = False
    app.req_options.keep_blank_qs_values = True
    for kind, handler in faults.HANDLERS:
        app.add_error_handler(kind, handler)
    app.add_route("/", _Versions(service, 300))
    app.add_route("/v2", _V2(service))
    app.add_route("/v2/", _Versions(service, 200))
    app.add_route("/healthcheck", Healthcheck(service))
    app.add_route("/metrics", MetricsPage(metrics))
    routes = openapi.with_document([module.routes for module in resources])
    collections = mount(app, service, routes)
    return Edge(_authenticated(app, settings, database), metrics, collections)


def _users_networks(settings: Settings) -> UsersNetworks | None:
    """Neutron, if users' tokens come from the Keystone that Neutron uses; otherwise None."""
    if settings.cloud != "openstack" or settings.api.auth_strategy != "keystone":
        return None
    from atoll.api.auth import neutron  # large, so only where it is needed

    return neutron.UsersNetworks(settings)


def _is_served(module: ModuleType, settings: Settings) -> bool:
    """Where Keystone keeps the projects, nobody looks for them here."""
    return module is not projects or settings.api.auth_strategy != "keystone"


def _authenticated(app: Application, settings: Settings, database: Database) -> Application:
    """The application behind the filter that finds out who asks."""
    if settings.api.auth_strategy == "none":
        return NoAuth(app, settings)
    if settings.api.auth_strategy == "token":
        return TokenAuth(app, database)
    try:
        from atoll.api.auth.keystone import KeystoneAuth  # large, so only where it is needed
    except ImportError as error:
        raise ConfigurationError(
            f'auth_strategy = "keystone" needs {error.name}, which is not installed.',
            hint="Install Atoll with the extra [openstack].",
        ) from error
    return KeystoneAuth(app, settings)
