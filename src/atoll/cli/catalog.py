"""Keystone's catalog: the services and endpoints by which clients find Atoll.

Atoll's services are identified by type and name. Other services are never changed. If one of them
could be found by clients instead of Atoll, nothing is changed, and the operator is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from openstack.connection import Connection
from openstack.identity.v3._proxy import Proxy

from atoll.errors import CloudError, Conflict, Invalid, NotFound

SERVICES: Final = {"shared-file-system": "atoll", "sharev2": "atollv2"}
"""Names by type. Present clients use the first type; older clients use only the second."""
INTERFACES: Final = ("public", "internal", "admin")
_DESCRIPTION: Final = "NFS and SMB shares by Atoll"


@dataclass(frozen=True, slots=True)
class Change:
    """What was done with one resource of Keystone."""

    change: Literal["made", "updated", "kept", "removed"]
    kind: str
    name: str
    id: str
    url: str = ""


def identity_api(connection: Connection) -> Proxy:
    """The SDK's identity API. Raises ``CloudError`` if Keystone has no API v3."""
    if isinstance(connection.identity, Proxy):
        return connection.identity
    raise CloudError("This Keystone has no API v3.", hint="Set OS_IDENTITY_API_VERSION=3.")


def endpoint_url(url: str) -> str:
    """The URL for clients, which ends in ``/v2``. Raises ``Invalid``."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f"{url} is not a valid URL.", hint="Use https://shares.example.org:8786.")
    if parts.hostname in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        raise Invalid(
            f"{url} is where the API listens, not where clients find it.",
            hint="Give the address for clients with --url, or set api.public_url.",
        )
    whole = url.rstrip("/")
    return whole if "v2" in parts.path.split("/") else f"{whole}/v2"


def interfaces(text: str) -> tuple[str, ...]:
    """The interfaces in a list like ``public,internal,admin``. Raises ``Invalid``."""
    wanted = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [word for word in wanted if word not in INTERFACES]
    if unknown or not wanted:
        raise Invalid(
            f"'{text}' is not a valid list.", hint=f"Use some of {', '.join(INTERFACES)}."
        )
    return wanted


def region(identity: Proxy, wanted: str) -> str:
    """The region to use. Raises ``NotFound`` or ``Invalid``."""
    known = sorted(each.id for each in identity.regions())
    if wanted and wanted not in known:
        raise NotFound(
            f"Keystone has no region {wanted}; it has {', '.join(known) or 'none'}.",
            hint=f"Use one of these, or create it first: openstack region create {wanted}.",
        )
    if wanted:
        return wanted
    if len(known) != 1:
        raise Invalid(
            f"Keystone has {len(known)} regions: {', '.join(known)}.",
            hint="Give this deployment's region with --region, or set keystone.region_name.",
        )
    return known[0]


def register(identity: Proxy, url: str, region_id: str, wanted: Sequence[str]) -> Iterator[Change]:
    """Make or correct Atoll's services and endpoints in one region. Raises ``Conflict``."""
    for service_type, name in SERVICES.items():
        _check_no_other(identity, service_type, name, region_id)
    for service_type, name in SERVICES.items():
        change, service_id = _service(identity, service_type, name)
        yield change
        for interface in wanted:
            yield from _endpoint(identity, service_id, interface, region_id, url)


def unregister(identity: Proxy, region_id: str) -> Iterator[Change]:
    """Remove Atoll's endpoints in one region, and its services without endpoints."""
    for service_type, name in SERVICES.items():
        for service in _ours(identity, service_type, name):
            left = 0
            for endpoint in identity.endpoints(service_id=service.id):
                if endpoint.region_id == region_id:
                    identity.delete_endpoint(endpoint.id)
                    yield _of_endpoint("removed", endpoint)
                else:
                    left += 1
            if not left:
                identity.delete_service(service.id)
                yield Change("removed", "service", f"{name} ({service_type})", service.id)


def _ours(identity: Proxy, service_type: str, name: str) -> list[Any]:
    found = identity.services(type=service_type)
    return sorted((each for each in found if each.name == name), key=lambda each: str(each.id))


def _check_no_other(identity: Proxy, service_type: str, name: str, region_id: str) -> None:
    """Raise ``Conflict`` for another service of the type, which clients might find first."""
    for service in identity.services(type=service_type):
        if service.name == name or not service.is_enabled:
            continue
        for endpoint in identity.endpoints(service_id=service.id):
            if endpoint.region_id == region_id and endpoint.is_enabled:
                raise Conflict(
                    f"Region {region_id} has another service of type {service_type}, "
                    f"'{service.name}' at {endpoint.url}.",
                    hint="Clients could find that one instead of Atoll. If Atoll is to take its "
                    f"place: openstack service set --disable {service.id}.",
                )


def _service(identity: Proxy, service_type: str, name: str) -> tuple[Change, str]:
    label = f"{name} ({service_type})"
    found = _ours(identity, service_type, name)
    if not found:
        made = identity.create_service(
            type=service_type, name=name, description=_DESCRIPTION, enabled=True
        )
        return Change("made", "service", label, made.id), made.id
    service = found[0]
    if service.is_enabled:
        return Change("kept", "service", label, service.id), service.id
    identity.update_service(service.id, enabled=True)
    return Change("updated", "service", label, service.id), service.id


def _endpoint(
    identity: Proxy, service_id: str, interface: str, region_id: str, url: str
) -> Iterable[Change]:
    """Make or correct the endpoint of a service, interface and region; remove duplicates."""
    found = identity.endpoints(service_id=service_id, interface=interface)
    here = sorted((each for each in found if each.region_id == region_id), key=lambda one: one.id)
    if not here:
        made = identity.create_endpoint(
            service_id=service_id, interface=interface, region_id=region_id, url=url, enabled=True
        )
        yield _of_endpoint("made", made)
        return
    first, *surplus = here
    if first.url == url and first.is_enabled:
        yield _of_endpoint("kept", first)
    else:
        updated = identity.update_endpoint(first.id, url=url, enabled=True)
        yield _of_endpoint("updated", updated)
    for endpoint in surplus:
        identity.delete_endpoint(endpoint.id)
        yield _of_endpoint("removed", endpoint)


def _of_endpoint(change: Literal["made", "updated", "kept", "removed"], endpoint: Any) -> Change:
    label = f"{endpoint.interface} in {endpoint.region_id}"
    return Change(change, "endpoint", label, endpoint.id, endpoint.url)
