"""Whether a server of Nova's still runs somewhere, although Nova says something else.

Nova deletes the record of a server whose host is down, or is taken for down, at once and without
the host: the virtual machine may run on. So it is asked for the host before a deletion, and
afterwards for what the host itself has recorded about it. Proof is one of these:

* The host has recorded that it has ended the server (``compute_terminate_instance``).
* Somebody has forced the host's compute service down, and so vouches that nothing runs there.
* The server never had a host.

Only administrators see hosts and compute services. Events of deleted servers are shown to their
project as well (since 2.51), so that a deletion can be proved without the other two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Set
from typing import Any, Final

from atoll.cloud.base import Fencing, FencingState
from atoll.cloud.openstack.api import Api, Json, part
from atoll.errors import CloudError, CloudUnavailable, InstanceMayStillRun

HOST: Final = "OS-EXT-SRV-ATTR:host"
COMPUTE: Final = "nova-compute"
DELETE: Final = "delete"
CREATE: Final = "create"
PLACING: Final = frozenset(
    {
        CREATE,
        "confirmResize",
        "evacuate",
        "live-migration",
        "migrate",
        "rebuild",
        "resize",
        "revertResize",
        "unshelve",
    }
)
"""Actions that may bring a server to a host."""
TERMINATED: Final = "compute_terminate_instance"
BY_A_HOST: Final = "compute_"
"""With this begin the names of events that compute hosts record."""
SUCCESS: Final = "Success"
PROOF_SECONDS = 10.0
"""How long a host may take to record that it has ended a server, after the server is gone."""
PAUSE = 0.5

PROVED: Final = Fencing(FencingState.PROVED)
POSSIBLE: Final = Fencing(FencingState.POSSIBLE)


class NovaFencing:
    """What Nova knows about the end of servers."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def of_server(self, server: Json) -> Fencing:
        """What is known of a server that Nova still has. Its host may be hidden from Atoll."""
        if HOST not in server:
            return POSSIBLE
        host = server[HOST]
        if not host:
            return PROVED
        services = self._services(host)
        if services is None or any(service.get("state") == "up" for service in services):
            return POSSIBLE
        if services and all(service.get("forced_down") for service in services):
            return PROVED
        return _doubt(
            f"The compute service of host {host}, which has server {server['id']}, is down."
        )

    def of_deleted(self, server_id: str) -> Fencing:
        """What is known of a server that Nova has no more."""
        try:
            actions = list(
                self._api.list(f"/servers/{server_id}/os-instance-actions", "instanceActions")
            )
            for event in self._events(server_id, actions, {DELETE}):
                if event.get("event") == TERMINATED and event.get("result") == SUCCESS:
                    return PROVED
            by_hosts = [
                event
                for event in self._events(server_id, actions, PLACING)
                if str(event.get("event")).startswith(BY_A_HOST)
            ]
        except CloudUnavailable:
            raise
        except CloudError as error:
            return _doubt(f"Server {server_id} is gone, and Nova does not show its end: {error}")
        if not by_hosts and any(action.get("action") == CREATE for action in actions):
            return PROVED  # no host has ever had it
        hosts = {event.get("host") for event in by_hosts}
        if hosts and all(host and self._is_forced_down(host) for host in hosts):
            return PROVED
        return _doubt(f"Server {server_id} is gone, and no host has recorded that it has ended it.")

    def await_proof(self, server_id: str) -> None:
        """Return when it is proved that a server that was deleted now has ended.

        Raises ``InstanceMayStillRun``.
        """
        end = time.monotonic() + PROOF_SECONDS
        while (found := self.of_deleted(server_id)).state != FencingState.PROVED:
            if time.monotonic() > end:
                raise InstanceMayStillRun(found.reason, instance_id=server_id)
            time.sleep(PAUSE)

    def hosts(self) -> str:
        """For people: what is known of compute hosts. Raises ``CloudUnavailable``."""
        services = self._services()
        if services is None:
            return (
                "the state of compute hosts is hidden from Atoll (os-services needs an "
                "administrator), so the end of an instance is proved only after its deletion"
            )
        up = sum(service.get("state") == "up" for service in services)
        return f"{up} of {len(services)} compute services are up"

    def _services(self, host: str = "") -> list[Json] | None:
        """The compute services (of a host); None if Atoll may not see them."""
        query: dict[str, Any] = {"binary": COMPUTE} | ({"host": host} if host else {})
        try:
            return list(self._api.list("/os-services", "services", **query))
        except CloudUnavailable:
            raise
        except CloudError:
            return None

    def _is_forced_down(self, host: str) -> bool:
        services = self._services(host) or []
        return bool(services) and all(service.get("forced_down") for service in services)

    def _events(self, server_id: str, actions: list[Json], names: Set[str]) -> Iterator[Json]:
        for action in actions:
            if action.get("action") in names:
                path = f"/servers/{server_id}/os-instance-actions/{action['request_id']}"
                yield from part(self._api.get(path), "instanceAction").get("events") or ()


def _doubt(reason: str) -> Fencing:
    return Fencing(FencingState.DOUBTFUL, reason)
