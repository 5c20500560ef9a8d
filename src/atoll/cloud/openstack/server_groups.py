"""The server group of service instances, which tells Nova whether they may share a host.

A group has no other mark than its name, and Nova accepts a name twice. Therefore the name says
which deployment a group belongs to, and a worker that made one removes it unless it is the only
one.
"""

from __future__ import annotations

from atoll.cloud.openstack.api import Api, Json, part
from atoll.cloud.sole import alone, sole
from atoll.errors import CloudUnavailable, OutOfCapacity

NONE = "none"
_PATH = "/os-server-groups"
_QUOTA = "Raise the quotas 'server-groups' and 'server-group-members' of Atoll's project."


class ServerGroups:
    """The deployment's groups: one for each policy that was ever chosen. A purge removes them."""

    def __init__(self, api: Api, deployment: str, policy: str) -> None:
        self._api = api
        self._prefix = f"atoll:{deployment} "
        self._policy = policy

    def hints(self) -> Json:
        """What a request for a new server has besides ``server``.

        The group is made if it is missing.
        """
        if self._policy == NONE:
            return {}
        return {"os:scheduler_hints": {"group": self._provide()}}

    def expect(self, hints: Json) -> None:
        """Raise ``CloudUnavailable`` if the group that ``hints`` names is gone.

        Of several workers that made a group at once, each removes its own. Another worker may have
        chosen one of these groups in between, and chooses again.
        """
        wanted = hints.get("os:scheduler_hints", {}).get("group")
        if wanted and wanted not in {str(group["id"]) for group in self.ours()}:
            raise CloudUnavailable("The server group was removed; another one will be used.")

    def ours(self) -> list[Json]:
        """All groups of this deployment."""
        found = self._api.list(_PATH, "server_groups")
        return [group for group in found if group["name"].startswith(self._prefix)]

    def purge(self) -> None:
        """Remove all groups. Their members stay."""
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
