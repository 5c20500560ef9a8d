"""Finds what a run has left in an OpenStack project: what has its marks, and what is new.

Servers and their groups, ports (interfaces of routers and of workers' hosts among them), networks,
subnets, routers, floating addresses, volumes, snapshots, key pairs and security groups are listed.
Other programs may use the same project meanwhile. What has the mark of another deployment or run is
ignored, and so is what Neutron itself puts into their networks. With
``ATOLL_DEMO_PROJECT_IS_SHARED`` set, what has no mark is ignored, too.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from openstack import exceptions
from openstack.connection import Connection

from atoll.cloud.openstack.cinder import DEPLOYMENT, OWNER
from atoll.cloud.openstack.tags import owner_of

PATIENCE_SECONDS = 60.0
"""Longest time Neutron may take to remove its own ports after their networks, in seconds."""
_MARK = re.compile(r"^(atoll(?:-demo)?:\S+) ?(.*)$")
_NOVA_WITH_TAGS = "2.52"
_IN_NEUTRON = {
    "network": "networks",
    "router": "routers",
    "subnet": "subnets",
    "security group": "security_groups",
    "floating ip": "floatingips",
}

Json = dict[str, Any]


def deployment_mark(deployment: str) -> str:
    """The mark of everything that a deployment of Atoll makes."""
    return f"atoll:{deployment}"


def users_mark(run: str) -> str:
    """The mark of everything that a run of the demo makes as the user."""
    return f"atoll-demo:{run}"


@dataclass(frozen=True, slots=True)
class Thing:
    """One resource in the cloud."""

    kind: str
    id: str
    name: str
    mark: str = ""
    """``atoll:<deployment>``, ``atoll-demo:<run>``, or empty if it is unknown."""
    owner: str = ""
    """The owner that the deployment made it for."""
    detail: str = ""

    def __str__(self) -> str:
        words = (self.kind, self.id, self.name, self.mark, self.owner, self.detail)
        return " ".join(word for word in words if word)


class Audit:
    """Records the resources in the project; ``left`` compares them with the present ones."""

    def __init__(self, connection: Connection) -> None:
        # Any, because the types that the SDK declares differ between releases.
        self._cloud: Any = connection
        self._project = str(connection.current_project_id)
        self._before = {(thing.kind, thing.id) for thing in self.things()}
        self._is_shared = bool(os.environ.get("ATOLL_DEMO_PROJECT_IS_SHARED"))

    def things(self) -> list[Thing]:
        """All resources in the project at present."""
        return [*self._computing(), *self._storage(), *self._networking()]

    def of(self, *marks: str) -> list[Thing]:
        """The resources that have one of these marks."""
        return [thing for thing in self.things() if thing.mark in marks]

    def left(self, *marks: str, patience: float = PATIENCE_SECONDS) -> list[str]:
        """A line for each resource with these marks, and for each new one without a mark.

        It waits up to ``patience`` seconds until there are none.
        """
        deadline = time.monotonic() + patience
        while True:
            found = [
                str(thing)
                for thing in self.things()
                if thing.mark in marks or (not thing.mark and self._is_new(thing))
            ]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(2)

    def _is_new(self, thing: Thing) -> bool:
        return not self._is_shared and (thing.kind, thing.id) not in self._before

    # --- listing ------------------------------------------------------------------------------

    def _computing(self) -> Iterator[Thing]:
        nova = self._cloud.compute
        for server in _list(nova, "/servers/detail", "servers", microversion=_NOVA_WITH_TAGS):
            texts = [*server["tags"], *(f"{k}:{v}" for k, v in server["metadata"].items())]
            marks = [mark for mark, _ in map(_marked, texts) if mark]
            yield Thing(
                "server",
                server["id"],
                server["name"],
                marks[0] if marks else "",
                owner_of(server["tags"]),
                server["status"],
            )
        for group in _list(nova, "/os-server-groups", "server_groups"):
            mark, owner = _marked(group["name"])
            yield Thing("server group", group["id"], group["name"], mark, owner)
        for pair in _list(nova, "/os-keypairs", "keypairs"):
            yield Thing("key pair", pair["keypair"]["name"], "")

    def _storage(self) -> Iterator[Thing]:
        for kind in ("volume", "snapshot"):
            for found in _list(self._cloud.block_storage, f"/{kind}s/detail", f"{kind}s"):
                marks = found["metadata"]
                mark = deployment_mark(marks[DEPLOYMENT]) if DEPLOYMENT in marks else ""
                owner = marks.get(OWNER, "")
                yield Thing(kind, found["id"], found["name"] or "", mark, owner, found["status"])

    def _networking(self) -> Iterator[Thing]:
        neutron = self._cloud.network
        marks: dict[str, str] = {}
        for kind, key in _IN_NEUTRON.items():
            for found in _list(neutron, f"/{key.replace('_', '-')}", key):
                # An administrator's list has all projects' resources, and any list has shared ones.
                if found["project_id"] == self._project:
                    thing = _described(kind, found)
                    marks[thing.id] = thing.mark
                    yield thing
        for port in _list(neutron, "/ports", "ports"):
            thing = _described("port", port)
            near = marks.get(port["device_id"]) or marks.get(port["network_id"]) or ""
            if not thing.mark:
                thing = replace(thing, mark=near)
            # Neutron's own ports at routers have no project.
            if port["project_id"] == self._project or (not port["project_id"] and near):
                yield thing


def _list(proxy: Any, path: str, key: str, **options: Any) -> list[Json]:
    answer = proxy.get(path, **options)
    exceptions.raise_from_response(answer)
    found: list[Json] = answer.json()[key]
    return found


def _described(kind: str, found: Json) -> Thing:
    """A resource of Neutron, whose description names its owner."""
    mark, owner = _marked(found.get("description") or "")
    name = found.get("name") or found.get("floating_ip_address") or ""
    return Thing(kind, found["id"], name, mark, owner, found.get("device_owner") or "")


def _marked(text: str) -> tuple[str, str]:
    """The mark at the beginning of a text, and the rest of the text."""
    found = _MARK.match(text)
    return (found[1], found[2]) if found else ("", "")
