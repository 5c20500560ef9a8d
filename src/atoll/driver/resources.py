"""What callers pass to the driver: mappings, so that database rows and Manila's models both fit.

Keys that the driver reads (others are ignored):

* share: ``id``, ``size`` (GiB), ``share_proto`` (NFS or CIFS); optional ``options`` (``squash``,
  ``file_system``), ``access_rules`` (the whole set that should be served; absent means: leave
  exports as they are), ``availability_zone``, ``share_server``
* snapshot: ``id``, ``share_id``; optional ``provider_location``
* share server: ``id``, ``backend_details``
* access rule: ``id``, ``access_type``, ``access_to``, ``access_level``
* network info: ``server_id``, ``neutron_net_id``, ``neutron_subnet_id``; optional
  ``availability_zone``
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeAlias, TypedDict, cast
from uuid import NAMESPACE_URL, UUID, uuid5

from atoll.model.keys import share_key
from atoll.model.records import Share
from atoll.model.states import RuleState

NetworkInfo: TypeAlias = Mapping[str, Any]
ServerDetails: TypeAlias = Mapping[str, Any]
"""What ``set_up_service_instance`` returned and the caller has stored: texts without secrets.

``server_id``, ``instance_id``, ``image_id`` (that it was made from), ``username``, ``ip`` (where
Atoll reaches it), ``public_address`` and ``public_addresses`` (comma-separated; where clients mount
from), and the ids of the network resources that it has: ``service_port_id``, ``public_port_id``,
``admin_port_id``, ``subnet_id``, ``router_id``.
"""


class ExportLocation(TypedDict):
    """Where clients find a share."""

    path: str
    is_admin_only: bool
    metadata: dict[str, Any]


class SnapshotUpdate(TypedDict):
    """What a snapshot has become."""

    provider_location: str
    size: int
    """GiB."""


class RuleUpdate(TypedDict):
    """What became of an access rule."""

    state: RuleState
    reason: str
    """A sentence for the user."""


def file_system_id(share_id: str) -> str:
    """UUID of a share's file system and its NFS file handles: the share's id, if it is a UUID."""
    try:
        return str(UUID(share_id))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, share_key(share_id)))


def fence_of(context: object) -> int:
    """The fence of the operation behind a call.

    A caller without fences (Manila's context has none) gets the time in microseconds, so that of
    two calls the later one wins.
    """
    fence = getattr(context, "fence", None)
    return cast(int, fence) if fence is not None else time.time_ns() // 1000


def option(share: Share, key: str) -> str | None:
    """One of the share's options, or None if it was not chosen."""
    options = share.get("options") or {}
    value = options.get(key)
    return str(value) if value else None
