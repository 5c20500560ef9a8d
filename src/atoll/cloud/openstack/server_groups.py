"""The server group of service instances: on which hosts Nova puts them beside each other.

Nova's groups have names that are not unique, and nothing else to mark them by. So the name says
whose a group is, and who has made one looks again and takes it back unless it is alone.
"""

from __future__ import annotations

from atoll.cloud.openstack.api import Api, Json, part
from atoll.cloud.sole import alone, sole
from atoll.errors import OutOfCapacity

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
            self._discard(group)

    def _provide(self) -> str:
        group = sole(
            self._named,
            # Of several groups, all but one are about to be removed. If their makers have died, all
            # of them stay, and the one with the lowest id is used.
            lambda found: found[0] if len(found) == 1 else None,
            lambda: alone(self._named, self._make, self._discard, "the server group"),
            lambda found: found,
        )
        return str(group["id"])

    def _named(self) -> list[Json]:
        named = [group for group in self.ours() if group["name"] == self._name]
        return sorted(named, key=lambda group: str(group["id"]))

    def _discard(self, group: Json) -> None:
        self._api.delete(f"{_PATH}/{group['id']}")

    @property
    def _name(self) -> str:
        return self._prefix + self._policy

    def _make(self) -> Json:
        wish = {"name": self._name, "policy": self._policy}
        try:
            answer = self._api.post(_PATH, {"server_group": wish})
        except OutOfCapacity as error:
            raise OutOfCapacity(error.message, hint=_QUOTA) from error
        return part(answer, "server_group")
