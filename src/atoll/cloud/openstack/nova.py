"""What Nova's answers mean: a server's status, its fault, and the volumes that go with it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Any, Final

from atoll.cloud.base import InstanceStatus
from atoll.cloud.openstack.api import Json

TASK_STATE: Final = "OS-EXT-STS:task_state"
VOLUMES: Final = "os-extended-volumes:volumes_attached"


class _UpperCase(StrEnum):
    """``auto()`` is the member's name: Nova and Neutron write statuses in capitals."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[Any]) -> str:
        return name


class NovaStatus(_UpperCase):
    """Nova's words for the status of a server."""

    BUILD = auto()
    REBUILD = auto()
    ACTIVE = auto()
    REBOOT = auto()
    HARD_REBOOT = auto()
    SHUTOFF = auto()
    STOPPED = auto()
    PAUSED = auto()
    SUSPENDED = auto()
    RESCUE = auto()
    SHELVED = auto()
    SHELVED_OFFLOADED = auto()
    SOFT_DELETED = auto()
    DELETED = auto()
    UNKNOWN = auto()
    ERROR = auto()


GONE: Final = frozenset({NovaStatus.DELETED, NovaStatus.SOFT_DELETED})
IDLE: Final = frozenset({NovaStatus.ACTIVE, NovaStatus.ERROR})
POWERED_OFF: Final = frozenset({NovaStatus.SHUTOFF, NovaStatus.STOPPED})
"""The server can be started. A reboot would be refused."""

_MEANS: Final[Mapping[str, InstanceStatus]] = MappingProxyType(
    {
        NovaStatus.BUILD: InstanceStatus.BUILDING,
        NovaStatus.REBOOT: InstanceStatus.BUILDING,
        NovaStatus.HARD_REBOOT: InstanceStatus.BUILDING,
        NovaStatus.REBUILD: InstanceStatus.BUILDING,
        NovaStatus.ERROR: InstanceStatus.ERROR,
        NovaStatus.UNKNOWN: InstanceStatus.ERROR,
        NovaStatus.SHUTOFF: InstanceStatus.STOPPED,
        NovaStatus.PAUSED: InstanceStatus.STOPPED,
        NovaStatus.SUSPENDED: InstanceStatus.STOPPED,
        NovaStatus.RESCUE: InstanceStatus.STOPPED,
        NovaStatus.SHELVED: InstanceStatus.STOPPED,
        NovaStatus.SHELVED_OFFLOADED: InstanceStatus.STOPPED,
    }
)


def status_of(server: Json) -> InstanceStatus:
    """The server's status in the words of ``Compute``.

    A server in any other status usually runs.
    """
    return _MEANS.get(server["status"], InstanceStatus.ACTIVE)


def fault_of(server: Json) -> str:
    """Nova's reason why the server is in error; empty where it gives none."""
    return str(server.get("fault", {}).get("message") or "")


def is_idle(server: Json | None) -> bool:
    """Whether Nova has finished what it was doing with the server, or the server is gone."""
    return server is None or (server["status"] in IDLE and server.get(TASK_STATE) is None)


def root_volumes_of(server: Json | None) -> tuple[str, ...]:
    """Ids of the volumes that are deleted together with the server."""
    plugged = server[VOLUMES] if server else ()
    return tuple(volume["id"] for volume in plugged if volume["delete_on_termination"])


def share_volumes_of(server: Json) -> tuple[str, ...]:
    """Ids of the volumes that were plugged in later, for shares."""
    return tuple(volume["id"] for volume in server[VOLUMES] if not volume["delete_on_termination"])
