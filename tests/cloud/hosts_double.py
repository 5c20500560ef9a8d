"""What Nova knows of hosts, for the double: compute services, and what hosts have done to servers.

As in Nova, a server whose host is up is ended by that host, which records it; the record of one
whose host is down is deleted without the host. Only administrators see hosts and services.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

Json = dict[str, Any]
HOST = "host-1"
FORBIDDEN: Json = {"forbidden": {"message": "Policy doesn't allow this to be performed."}}


@dataclass
class Hosts:
    """The one compute host, and the record of each server's actions."""

    state: str = "up"
    """What its compute service reports: up or down."""
    forced_down: bool = False
    shown: bool = True
    """Whether Atoll's user is an administrator."""
    placed: dict[str, str | None] = field(default_factory=dict)
    """Hosts of servers, where they differ from ``HOST``; None: no host has had it."""
    result: str | None = "Success"
    """What the host records when it ends a server."""
    archived: bool = False
    """Whether the records of deleted servers have been archived."""
    events: dict[str, dict[str, list[Json]]] = field(default_factory=dict)
    """By server and action."""

    @property
    def is_up(self) -> bool:
        return self.state == "up" and not self.forced_down

    def host_of(self, server: str) -> str | None:
        return self.placed.get(server, HOST)

    def attributes(self, server: str) -> Json:
        """What a server shows of its host."""
        return {"OS-EXT-SRV-ATTR:host": self.host_of(server)} if self.shown else {}

    def ended(self, server: str) -> None:
        """A request to delete this server was accepted."""
        if self.is_up and self.host_of(server) is not None:
            self.record(server, "delete", "compute_terminate_instance", self.result)

    def record(self, server: str, action: str, event: str, result: str | None) -> None:
        host = {"host": self.host_of(server)} if self.shown else {}
        made = {"event": event, "result": result, "hostId": "f00", **host}
        self.events.setdefault(server, {}).setdefault(action, []).append(made)

    def services(self, query: str) -> Json:
        asked = parse_qs(query)
        if asked.get("host", [HOST]) != [HOST] or asked.get("binary") != ["nova-compute"]:
            return {"services": []}
        one = {"binary": "nova-compute", "host": HOST, "state": "up" if self.is_up else "down"}
        return {"services": [one | {"forced_down": self.forced_down}]}

    def actions(self, server: str, request_id: str) -> Json | None:
        """The list of a server's actions, or one of them."""
        found = self.events.get(server)
        if found is None or self.archived:
            return None
        if not request_id:
            listed = [{"action": name, "request_id": f"req-{name}"} for name in found]
            return {"instanceActions": listed}
        name = request_id.removeprefix("req-")
        return {"instanceAction": {"action": name, "events": found[name]}}
