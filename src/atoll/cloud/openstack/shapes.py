"""The parts of OpenStack's answers that Atoll needs, checked when an answer arrives.

Services give partial answers when a part of them is down: Nova shows only the id of a server whose
cell is down. Such an answer is a retryable error about that one resource. A list of all resources
leaves it out, because such lists are read again regularly. In a search for what was made for an
owner it is an error as well: it might be that very resource, and Atoll would make a second one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from atoll.errors import CloudUnavailable

log = structlog.get_logger(__name__)

Json = dict[str, Any]


class PluggedVolume(Struct):
    """A volume that is attached to a server."""

    id: str
    delete_on_termination: bool


class Fault(Struct):
    """Why a server is in error."""

    message: str | None = None


class Server(Struct, rename={"volumes": "os-extended-volumes:volumes_attached"}):
    """A server of Nova's."""

    id: str
    name: str
    status: str
    tags: list[str]
    volumes: list[PluggedVolume]
    fault: Fault = msgspec.field(default_factory=Fault)


class Holder(Struct):
    """The server that a volume is attached to."""

    server_id: str


class Volume(Struct):
    """A volume of Cinder's."""

    id: str
    status: str
    size: int
    metadata: dict[str, str]
    attachments: list[Holder]


class Snapshot(Struct):
    """A snapshot of Cinder's."""

    id: str
    status: str
    volume_id: str
    size: int
    metadata: dict[str, str]


class FixedIp(Struct):
    """An address of a port."""

    subnet_id: str
    ip_address: str


class Network(Struct):
    """A network of Neutron's."""

    id: str
    name: str
    subnets: list[str]
    description: str | None = None


class Subnet(Struct):
    """A subnet of Neutron's."""

    id: str
    network_id: str
    cidr: str
    ip_version: int
    gateway_ip: str | None
    name: str
    description: str | None = None


class Port(Struct):
    """A port of Neutron's."""

    id: str
    network_id: str
    mac_address: str
    device_id: str
    device_owner: str
    fixed_ips: list[FixedIp]
    security_groups: list[str]
    description: str | None = None


class SecurityGroup(Struct):
    """A security group of Neutron's."""

    id: str
    security_group_rules: list[Json]
    description: str | None = None


class Image(Struct):
    """An image of Glance's."""

    id: str
    name: str | None
    status: str


NEUTRONS: dict[str, type[Struct]] = {
    "network": Network,
    "subnet": Subnet,
    "port": Port,
    "security_group": SecurityGroup,
}


def checked(kind: type[Struct], found: Any) -> Json:
    """``found``, if it is complete. Raises ``CloudUnavailable`` with what is missing if not."""
    try:
        msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        which = found.get("id", "?") if isinstance(found, dict) else "?"
        raise CloudUnavailable(
            f"OpenStack's answer about the {kind.__name__.lower()} {which} is incomplete: {error}.",
            hint="A part of the service may be down, such as one of Nova's cells.",
        ) from error
    whole: Json = found
    return whole


def whole_ones(kind: type[Struct], listed: Iterable[Any]) -> Iterator[Json]:
    """Those of a list of all resources that are complete."""
    for found in listed:
        try:
            yield checked(kind, found)
        except CloudUnavailable as error:
            log.warning("openstack.told_in_part", error=str(error))
