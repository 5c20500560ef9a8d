"""The server group of service instances: on which hosts Nova puts them beside each other.

Nova's groups have names that are not unique, and nothing else to mark them by. So the name says
whose a group is, and who has made one looks again and takes it back unless it is alone.
"""

from __future__ import annotations

import random
import time

from atoll.cloud.openstack.api import Api, Json
from atoll.cloud.openstack.neutron import TRIES
from atoll.errors import CloudUnavailable, OutOfCapacity

NONE = "none"
_PATH = "/os-server-groups"
_QUOTA = "Raise the quotas 'server-groups' and 'server-group-members' of Atoll's project."


class ServerGroups:
    """The deployment's. There is one for each policy that was ever chosen; purges remove them."""

    def __init__(self, api: Api, deployment: str, policy: str) -> None:
        self._api = api
        self._prefix = f"atoll:{deployment} "
        self._policy = policy

    def hints(self) -> Json:
        """What a new server's request says beside ``server``; the group is made when missing."""
        if self._policy == NONE:
            return {}
        return {"os:scheduler_hints": {"group": self._provide()}}

    def ours(self) -> list[Json]:
        """All of this deployment."""
        found = self._api.list(_PATH, "server_groups")
        return [group for group in found if group["name"].startswith(self._prefix)]

    def purge(self) -> None:
        """Remove all; their members stay."""
        for group in self.ours():
            self._api.delete(f"{_PATH}/{group['id']}")

    def _provide(self) -> str:
        for _ in range(TRIES):
            found = self._named()
            if not found:
                made = self._make()
                found = self._named()
                if found == [made]:
                    return made
                self._api.delete(f"{_PATH}/{made}")
            elif len(found) == 1:
                return found[0]
            time.sleep(random.uniform(0.1, 1))
        # All of them stay, as after a crash in between; one is as good as another.
        found = sorted(self._named())
        if not found:
            raise CloudUnavailable("Workers got in each other's way at making the server group.")
        return found[0]

    def _named(self) -> list[str]:
        return [group["id"] for group in self.ours() if group["name"] == self._name]

    @property
    def _name(self) -> str:
        return self._prefix + self._policy

    def _make(self) -> str:
        wish = {"name": self._name, "policy": self._policy}
        try:
            answer = self._api.post(_PATH, {"server_group": wish})
        except OutOfCapacity as error:
            raise OutOfCapacity(error.message, hint=_QUOTA) from error
        return str(answer["server_group"]["id"])
