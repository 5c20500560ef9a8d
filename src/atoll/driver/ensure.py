"""``ensure_server``: a driver method runs only if its share server answers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from atoll.driver.fence import INSTANCE_ID
from atoll.driver.resources import ServerDetails
from atoll.driver.service_instance import ServiceInstanceManager
from atoll.errors import ServiceInstanceException
from atoll.model.records import ShareServer


class HasServers(Protocol):
    """A driver with service instances."""

    service_instance_manager: ServiceInstanceManager


D = TypeVar("D", bound=HasServers)
P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate[D, object, P], R]


def ensure_server(f: Method[D, P, R]) -> Method[D, P, R]:
    """Run the method only if its ``share_server`` answers.

    Otherwise it raises ``ServiceInstanceUnavailable``.

    An open channel is sufficient proof and costs nothing. If the instance is dead nevertheless, the
    method's own request to it notices that.
    """
    signature = inspect.signature(f)

    @functools.wraps(f)
    def ensured(self: D, context: object, /, *args: P.args, **kwargs: P.kwargs) -> R:
        call = signature.bind(self, context, *args, **kwargs)
        manager = self.service_instance_manager
        manager.reach(server_details(manager, call.arguments.get("share_server")))
        return f(self, context, *args, **kwargs)

    return ensured


def server_details(
    manager: ServiceInstanceManager, share_server: ShareServer | None
) -> ServerDetails:
    """The details of a share's instance: its share server's or, without one, the common server's.

    Raises ``ServiceInstanceException`` if there is neither.
    """
    if share_server is None and not manager.options.driver_handles_share_servers:
        return manager.get_common_server()
    details = (share_server or {}).get("backend_details") or {}
    if not details.get(INSTANCE_ID):
        raise ServiceInstanceException(
            public="The share has no share server that is set up. This back end handles share "
            "servers: give the share a share network.",
        )
    return cast(ServerDetails, details)
