"""``atoll keystone``: registers Atoll in Keystone; also the doctor's checks of Keystone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import openstack
from keystoneauth1.access import AccessInfo
from keystoneauth1.exceptions import ClientException, Unauthorized
from keystoneauth1.session import Session
from openstack.connection import Connection
from openstack.exceptions import HttpException, SDKException

from atoll.api.auth import service_user
from atoll.cli import catalog
from atoll.cli import service_user as users
from atoll.cli.catalog import Change
from atoll.cloud.base import Finding
from atoll.config import Settings
from atoll.errors import AtollError, CloudError, Forbidden

ADMINISTRATOR = "Use an administrator's credentials: set OS_CLOUD, or the other OS_… variables."
ANSWER_SECONDS = 10


def register(
    settings: Settings, *, url: str, region: str, interface: str, with_user: bool
) -> list[Change]:
    """Make or correct what clients and the API need in Keystone."""
    api = settings.api
    address = f"[{api.host}]" if ":" in api.host else api.host
    chosen = catalog.endpoint_url(url or api.public_url or f"http://{address}:{api.port}")
    wanted = catalog.interfaces(interface)
    with _administrator() as connection:
        where = _region(connection, settings, region)
        changes = list(catalog.register(catalog.identity_api(connection), chosen, where, wanted))
        if with_user:
            changes += users.ensure(connection, settings)
    return changes


def unregister(settings: Settings, *, region: str, with_user: bool) -> list[Change]:
    """Remove what ``register`` has made."""
    with _administrator() as connection:
        where = _region(connection, settings, region)
        changes = list(catalog.unregister(catalog.identity_api(connection), where))
        if with_user:
            changes += users.remove(connection, settings)
    return changes


def _region(connection: Connection, settings: Settings, named: str) -> str:
    configured = settings.keystone.region_name or connection.config.get_region_name() or ""
    return catalog.region(catalog.identity_api(connection), named or configured)


@contextmanager
def _administrator() -> Iterator[Connection]:
    """Connect by clouds.yaml or the environment; errors say what to do."""
    try:
        with openstack.connect(app_name="atoll") as connection:
            if connection.session.timeout is None:
                connection.session.timeout = 6 * ANSWER_SECONDS  # some changes take long
            yield connection
    except HttpException as error:
        if error.status_code in (401, 403):
            raise Forbidden(
                f"Keystone refuses: {error.details or error}", hint=ADMINISTRATOR
            ) from error
        raise CloudError(f"Keystone: {error.details or error}") from error
    except Unauthorized as error:
        raise Forbidden(f"Keystone refuses: {error}", hint=ADMINISTRATOR) from error
    except (ClientException, SDKException) as error:
        raise CloudError(f"Keystone can't be asked: {error}", hint=ADMINISTRATOR) from error


# --- the doctor -------------------------------------------------------------------------------


def findings(settings: Settings) -> list[Finding]:
    """Check that the API can validate tokens, and that clients find the API in the catalog."""
    try:
        access = _log_in(settings)
    except AtollError as error:
        return [Finding("Keystone", False, error.message, error.hint)]
    except Unauthorized as error:
        user = settings.keystone.username
        todo = "Correct the table [keystone], or run 'atoll keystone register --service-user'."
        return [Finding("Keystone", False, f"refuses the user {user}: {error}", todo)]
    except ClientException as error:
        todo = "Check keystone.auth_url and keystone.cafile, and that Keystone runs."
        return [Finding("Keystone", False, f"does not answer: {error}", todo)]
    return [_role(settings, access), *_registered(settings, access)]


def _log_in(settings: Settings) -> AccessInfo:
    credentials, session = service_user.login(settings, ANSWER_SECONDS)
    return credentials.get_access(session)


def _role(settings: Settings, access: AccessInfo) -> Finding:
    user = settings.keystone.username
    fit = {service_user.ROLE, "admin"} & _roles(access)
    detail = f"{user} has the roles {', '.join(sorted(_roles(access)))}"
    todo = f"It can't validate tokens without the role {service_user.ROLE}: "
    return Finding(
        "Keystone", bool(fit), detail, f"{todo}'atoll keystone register --service-user'."
    )


def _roles(access: AccessInfo) -> set[str]:
    return {name.lower() for name in access.role_names or ()}


def _registered(settings: Settings, access: AccessInfo) -> Iterator[Finding]:
    """One finding for each type of service, and one for each endpoint."""
    urls: set[str] = set()
    for service_type in catalog.SERVICES:
        found = [
            endpoint["url"]
            for service in access.service_catalog.catalog
            for endpoint in service["endpoints"]
            if service["type"] == service_type
            and endpoint["interface"] == "public"
            and settings.keystone.region_name in ("", endpoint["region_id"])
        ]
        where = ", ".join(found) or "not in the catalog"
        todo = "Register it: 'atoll keystone register'."
        yield Finding(f"Catalog {service_type}", len(found) == 1, where, todo)
        urls.update(found)
    yield from (_answers(url, settings) for url in sorted(urls))


def _answers(url: str, settings: Settings) -> Finding:
    versions = url[: url.index("/v2") + len("/v2")] + "/" if "/v2" in url else url
    verify = str(settings.keystone.cafile) if settings.keystone.cafile else True
    session = Session(verify=verify, timeout=ANSWER_SECONDS)
    name = f"Endpoint {versions}"
    todo = "Start the API there, or correct the URL: 'atoll keystone register --url URL'."
    try:
        answer = session.get(versions, authenticated=False).json()
        known = [f"{each['id']} up to {each['version']}" for each in answer["versions"]]
    except (ClientException, ValueError, KeyError, TypeError) as error:
        return Finding(name, False, f"does not answer as it should: {error}", todo)
    return Finding(name, True, f"answers: {', '.join(known)}")
