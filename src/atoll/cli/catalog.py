"""Keystone's catalog: the services and endpoints by which clients find Atoll.

Ours are known by type and name. Another's are never touched: where one would come between clients
and us, nothing is changed and the operator is told.
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
"""Type → name. Clients of today look for the first; older ones know only the second."""
INTERFACES: Final = ("public", "internal", "admin")
_DESCRIPTION: Final = "NFS and SMB shares by Atoll"


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one thing in Keystone."""

    change: Literal["made", "mended", "kept", "removed"]
    kind: str
    name: str
    id: str
    url: str = ""


def identity_api(connection: Connection) -> Proxy:
    """Keystone, as the SDK speaks to it. Raises ``CloudError`` for one without its API v3."""
    if isinstance(connection.identity, Proxy):
        return connection.identity
    raise CloudError("This Keystone has no API v3.", hint="Set OS_IDENTITY_API_VERSION=3.")


def endpoint_url(url: str) -> str:
    """The URL that clients are given, which ends in ``/v2``. Raises ``Invalid``."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f"{url} is no URL.", hint="Give it like https://shares.example.org:8786.")
    if parts.hostname in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        raise Invalid(
            f"{url} is where the API listens, not where clients find it.",
            hint="Name its address with --url, or set api.public_url.",
        )
    whole = url.rstrip("/")
    return whole if "v2" in parts.path.split("/") else f"{whole}/v2"


def interfaces(text: str) -> tuple[str, ...]:
    """``public,internal,admin``, or some of them. Raises ``Invalid``."""
    wanted = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [word for word in wanted if word not in INTERFACES]
    if unknown or not wanted:
        raise Invalid(f"'{text}' names no interfaces.", hint=f"There are {', '.join(INTERFACES)}.")
    return wanted


def region(identity: Proxy, wanted: str) -> str:
    """The region that is meant. Raises ``NotFound`` or ``Invalid``."""
    known = sorted(each.id for each in identity.regions())
    if wanted and wanted not in known:
        raise NotFound(
            f"Keystone has no region {wanted}; it has {', '.join(known) or 'none'}.",
            hint=f"Name one of these, or make it first: openstack region create {wanted}.",
        )
    if wanted:
        return wanted
    if len(known) != 1:
        raise Invalid(
            f"Keystone has {len(known)} regions: {', '.join(known)}.",
            hint="Name this deployment's with --region, or set keystone.region_name.",
        )
    return known[0]


def register(identity: Proxy, url: str, region_id: str, wanted: Sequence[str]) -> Iterator[Change]:
    """Make, or mend, our services and their endpoints in one region. Raises ``Conflict``."""
    for service_type, name in SERVICES.items():
        _check_nobody_else(identity, service_type, name, region_id)
    for service_type, name in SERVICES.items():
        change, service_id = _service(identity, service_type, name)
        yield change
        for interface in wanted:
            yield from _endpoint(identity, service_id, interface, region_id, url)


def unregister(identity: Proxy, region_id: str) -> Iterator[Change]:
    """Remove our endpoints in one region, and a service that has none left anywhere."""
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


def _check_nobody_else(identity: Proxy, service_type: str, name: str, region_id: str) -> None:
    """Clients take the first service of a type that they find, so there must be one only."""
    for service in identity.services(type=service_type):
        if service.name == name or not service.is_enabled:
            continue
        for endpoint in identity.endpoints(service_id=service.id):
            if endpoint.region_id == region_id and endpoint.is_enabled:
                raise Conflict(
                    f"Region {region_id} has another service of type {service_type}, "
                    f"'{service.name}' at {endpoint.url}.",
                    hint="Clients could find that one instead of Atoll. If Atoll shall take its "
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
    return Change("mended", "service", label, service.id), service.id


def _endpoint(
    identity: Proxy, service_id: str, interface: str, region_id: str, url: str
) -> Iterable[Change]:
    """The one of this service, interface and region; what is there twice is removed."""
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
        mended = identity.update_endpoint(first.id, url=url, enabled=True)
        yield _of_endpoint("mended", mended)
    for endpoint in surplus:
        identity.delete_endpoint(endpoint.id)
        yield _of_endpoint("removed", endpoint)


def _of_endpoint(change: Literal["made", "mended", "kept", "removed"], endpoint: Any) -> Change:
    label = f"{endpoint.interface} in {endpoint.region_id}"
    return Change(change, "endpoint", label, endpoint.id, endpoint.url)
