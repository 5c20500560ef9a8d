"""How Atoll finds its networks, subnets, ports and security groups in Neutron.

Everything that Atoll makes has the description ``atoll:<deployment> <owner>``. It is set by the
request that makes a thing, and lists can be filtered by it. Tags need a request of their own, so a
worker that died between the two would leave something that no other worker recognises.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

from atoll.cloud.openstack.api import Api, Json, part
from atoll.cloud.openstack.shapes import NEUTRONS, checked, whole_ones
from atoll.cloud.sole import alone, sole
from atoll.errors import CloudError, CloudUnavailable
from atoll.model.keys import name_of

_ID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")


def is_id(text: str) -> bool:
    """Whether it has the form of an id. Nothing else is ever put into a path."""
    return _ID.fullmatch(text) is not None


class Things:
    """All networks, subnets, ports or security groups. ``kind`` is as in JSON."""

    def __init__(self, neutron: Neutron, kind: str) -> None:
        self._neutron = neutron
        self._kind = kind
        self._path = f"/{kind.replace('_', '-')}s"

    def get(self, thing_id: str) -> Json | None:
        """The thing with this id, whoever owns it, or None."""
        answer = self._neutron.api.find(f"{self._path}/{thing_id}") if is_id(thing_id) else None
        return self._checked(part(answer, self._kind)) if answer is not None else None

    def find(self, **filters: Any) -> list[Json]:
        """All that Atoll may see and that pass the filters, in the order of their ids."""
        listed = self._neutron.api.list(self._path, f"{self._kind}s", **filters)
        # With ``fields``, the answer has only those fields.
        found = listed if "fields" in filters else map(self._checked, listed)
        return sorted(found, key=lambda thing: str(thing["id"]))

    def _checked(self, found: Any) -> Json:
        return checked(NEUTRONS[self._kind], found)

    def ours(self, **filters: Any) -> list[Json]:
        """Those of this deployment."""
        query = {"project_id": self._neutron.project_id, **filters}
        listed = self._neutron.api.list(self._path, f"{self._kind}s", **query)
        found = whole_ones(NEUTRONS[self._kind], listed)
        ours = [thing for thing in found if self._neutron.owner_of(thing) is not None]
        return sorted(ours, key=lambda thing: str(thing["id"]))

    def of(self, owner: str, **filters: Any) -> list[Json]:
        """Those that were made for ``owner``."""
        found = self.find(description=self._neutron.mark(owner), **filters)
        return [thing for thing in found if self._neutron.owner_of(thing) == owner]

    def create(self, owner: str, **wish: Any) -> Json:
        """Make one. The request is sent once."""
        marks = {"name": name_of(owner), "description": self._neutron.mark(owner)}
        answer = self._neutron.api.post(self._path, {self._kind: {**marks, **wish}})
        return part(answer, self._kind)

    def update(self, thing_id: str, **changes: Any) -> Json:
        """Change one, and return it as it is then."""
        answer = self._neutron.api.put(f"{self._path}/{thing_id}", {self._kind: changes})
        return part(answer, self._kind)

    def delete(self, thing_id: str) -> None:
        """Remove one. It may be gone already."""
        self._neutron.api.delete(f"{self._path}/{thing_id}")

    def provide(self, owner: str, is_whole: Callable[[Json], bool], **wish: Any) -> Json:
        """The one thing of ``owner``, made where there is none; the caller then makes it whole.

        Neutron lets two workers make a network each at the same moment, so a new one is kept only
        if it is alone. The worker that made it is given time to make it whole.
        """

        def find() -> list[Json]:
            return self.of(owner)

        def make() -> Json:
            return alone(
                find,
                lambda: self.create(owner, **wish),
                lambda made: self.delete(made["id"]),
                f"the {self._kind.replace('_', ' ')} of {owner}",
            )

        return sole(find, lambda found: next(filter(is_whole, found), None), make, lambda it: it)


class Neutron:
    """Neutron as one deployment uses it."""

    def __init__(self, api: Api, deployment: str) -> None:
        self.api = api
        self.deployment = deployment
        self._prefix = f"atoll:{deployment} "
        self.networks = Things(self, "network")
        self.subnets = Things(self, "subnet")
        self.ports = Things(self, "port")
        self.security_groups = Things(self, "security_group")
        self.kinds = {
            "network": self.networks,
            "subnet": self.subnets,
            "port": self.ports,
            "security group": self.security_groups,
        }

    @cached_property
    def project_id(self) -> str:
        """Atoll's own project.

        It is a filter, because administrators see things of all projects.
        """
        return str(part(self.api.get("/quotas/tenant"), "tenant")["tenant_id"])

    def shared_with(self, network_id: str) -> set[str]:
        """Ids of the projects that a network is shared with (``*``: all), as far as visible."""
        query = {"object_type": "network", "object_id": network_id}
        try:
            found = list(self.api.list("/rbac-policies", "rbac_policies", **query))
        except CloudUnavailable:
            raise
        except CloudError:
            return set()  # this Neutron doesn't have RBAC policies
        return {
            str(policy.get("target_tenant") or policy.get("target_project"))
            for policy in found
            if policy.get("action") == "access_as_shared"
        }

    def mark(self, owner: str) -> str:
        """The description of things that are made for ``owner``."""
        return self._prefix + owner

    def owner_of(self, thing: Json) -> str | None:
        """The owner that it was made for; None if it doesn't belong to this deployment."""
        description = thing.get("description") or ""
        if not description.startswith(self._prefix):
            return None
        return str(description.removeprefix(self._prefix))


def is_marked(thing: Json) -> bool:
    """Whether any deployment of Atoll made it."""
    return str(thing.get("description") or "").startswith("atoll:")
