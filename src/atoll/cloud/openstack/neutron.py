"""What Neutron's networks, subnets, ports and security groups have in common: how ours are found.

What we make says so in its description, ``atoll:<deployment> <owner>``. That is set by the very
request that makes a thing, and lists can be filtered by it; tags need a request of their own, so a
worker that dies between the two would leave something that nobody knows.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from atoll.cloud.openstack.api import Api, Json, part
from atoll.cloud.openstack.shapes import NEUTRONS, checked, whole_ones
from atoll.errors import CloudError, CloudUnavailable

TRIES = 5
PATIENCE_SECONDS = 10.0
"""How long what somebody else has begun may stay unfinished before another goes on with it."""
_ID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")

T = TypeVar("T")


def is_id(text: str) -> bool:
    """Whether it has the form of an id; anything else never becomes part of a path."""
    return _ID.fullmatch(text) is not None


class Things:
    """All networks, or subnets, ports, security groups; ``kind`` is one of them, as in JSON."""

    def __init__(self, neutron: Neutron, kind: str) -> None:
        self._neutron = neutron
        self._kind = kind
        self._path = f"/{kind.replace('_', '-')}s"

    def get(self, thing_id: str) -> Json | None:
        """It, whosever it is, or None."""
        answer = self._neutron.api.find(f"{self._path}/{thing_id}") if is_id(thing_id) else None
        return self._checked(part(answer, self._kind)) if answer is not None else None

    def find(self, **filters: Any) -> list[Json]:
        """All that we may see and that fit, in the order of their ids."""
        listed = self._neutron.api.list(self._path, f"{self._kind}s", **filters)
        # With ``fields``, the answer has only those fields.
        found = listed if "fields" in filters else map(self._checked, listed)
        return sorted(found, key=lambda thing: str(thing["id"]))

    def _checked(self, found: Any) -> Json:
        return checked(NEUTRONS[self._kind], found)

    def ours(self, **filters: Any) -> list[Json]:
        """This deployment's."""
        query = {"project_id": self._neutron.project_id, **filters}
        listed = self._neutron.api.list(self._path, f"{self._kind}s", **query)
        found = whole_ones(NEUTRONS[self._kind], listed)
        ours = [thing for thing in found if self._neutron.owner_of(thing) is not None]
        return sorted(ours, key=lambda thing: str(thing["id"]))

    def of(self, owner: str, **filters: Any) -> list[Json]:
        """What was made for ``owner``."""
        found = self.find(description=self._neutron.mark(owner), **filters)
        return [thing for thing in found if self._neutron.owner_of(thing) == owner]

    def create(self, owner: str, **wish: Any) -> Json:
        """Make one; asked once."""
        marks = {"name": name_of(owner), "description": self._neutron.mark(owner)}
        answer = self._neutron.api.post(self._path, {self._kind: {**marks, **wish}})
        return part(answer, self._kind)

    def update(self, thing_id: str, **changes: Any) -> Json:
        """Change one; returns it as it is then."""
        answer = self._neutron.api.put(f"{self._path}/{thing_id}", {self._kind: changes})
        return part(answer, self._kind)

    def delete(self, thing_id: str) -> None:
        """Remove one. Absent is fine."""
        self._neutron.api.delete(f"{self._path}/{thing_id}")

    def provide(self, owner: str, is_whole: Callable[[Json], bool], **wish: Any) -> Json:
        """The one thing of ``owner``, made where there is none; the caller then makes it whole.

        Nothing in Neutron keeps two workers from making two networks at once. So who has made one
        looks again and takes it back unless it is alone: of several, at most one can ever have been
        alone. The others wait until that one is whole, or its maker seems to have died.
        """
        patience_ends = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = self.of(owner)
            for thing in found:
                if is_whole(thing):
                    return thing
            if not found:
                made = self.create(owner, **wish)
                if [thing["id"] for thing in self.of(owner)] == [made["id"]]:
                    return made
                self.delete(made["id"])
            elif time.monotonic() > patience_ends:
                return found[0]
            time.sleep(random.uniform(0.1, 1))


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
        """Our own project; an administrator's lists hold everybody's things."""
        return str(part(self.api.get("/quotas/tenant"), "tenant")["tenant_id"])

    def shared_with(self, network_id: str) -> set[str]:
        """Ids of the projects that a network is shared with (``*``: all), as far as visible."""
        query = {"object_type": "network", "object_id": network_id}
        try:
            found = list(self.api.list("/rbac-policies", "rbac_policies", **query))
        except CloudUnavailable:
            raise
        except CloudError:
            return set()  # this Neutron has no RBAC policies
        return {
            str(policy.get("target_tenant") or policy.get("target_project"))
            for policy in found
            if policy.get("action") == "access_as_shared"
        }

    def mark(self, owner: str) -> str:
        """Description of what is made for ``owner``."""
        return self._prefix + owner

    def owner_of(self, thing: Json) -> str | None:
        """Whom it was made for; None if it isn't this deployment's."""
        description = thing.get("description") or ""
        if not description.startswith(self._prefix):
            return None
        return str(description.removeprefix(self._prefix))


def is_marked(thing: Json) -> bool:
    """Whether any deployment of Atoll made it."""
    return str(thing.get("description") or "").startswith("atoll:")


def name_of(owner: str) -> str:
    """Name of what is made for ``owner``: for people, nothing is found by it."""
    return f"atoll-{owner.replace('/', '-')}"


def found_or_made(find: Callable[[], T | None], make: Callable[[int], T]) -> T:
    """What ``find`` finds, else what ``make`` makes (it is told how often that was tried).

    After a lost answer, or a refusal because another worker was quicker, it is looked for again.
    For things that Neutron itself makes no two of. Raises ``CloudUnavailable`` in the end.
    """
    for attempt in range(TRIES):
        found = find()
        if found is not None:
            return found
        try:
            return make(attempt)
        except CloudUnavailable:
            if attempt + 1 == TRIES:
                raise
        time.sleep(random.uniform(0.1, 0.5) * 2**attempt)
    raise AssertionError("unreachable")
