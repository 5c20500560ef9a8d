"""Security groups of service instances, with no more rules than shares need.

The group ``ssh`` lets Atoll in from the service network and from where routed workers are
(``ssh/<network>`` is the same for an administrator's network). Clients come from the ranges of the
share network's subnets. There is one group for each range (``clients/<range>``), so its rules never
change, and networks that have the same range share it. Rules that are missing are added to a group,
and other rules that let traffic in are removed, however old the group is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.neutron import Neutron
from atoll.cloud.sole import repeated
from atoll.errors import CloudNotFound, CloudUnavailable, OutOfCapacity

SSH = "ssh"
CLIENTS = "clients/"
SHARE_PORTS = {
    # rpcbind, SMB, NFS; then NFS 3's mountd, statd and lockd, fixed in the image's nfs.conf.
    "tcp": (111, 445, 2049, 20048, 32765, 32803),
    "udp": (111, 32765),  # a restarted client tells statd by UDP that its locks are lost
}
_QUOTAS = "Raise the quotas 'secgroups' and 'secgroup-rules' of Atoll's project."


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """A rule that lets packets in."""

    protocol: str
    port: int
    cidr: str

    @property
    def wish(self) -> Json:
        """The rule in the form of Neutron's API."""
        return {
            "direction": "ingress",
            "ethertype": f"IPv{ip_network(self.cidr).version}",
            "protocol": self.protocol,
            "port_range_min": self.port,
            "port_range_max": self.port,
            "remote_ip_prefix": self.cidr,
        }


class SecurityGroups:
    """The deployment's security groups."""

    def __init__(self, neutron: Neutron, workers: Iterable[str] = ()) -> None:
        """``workers`` are ranges that workers connect from, besides the service network's."""
        self._neutron = neutron
        self._groups = neutron.security_groups
        self._workers = tuple(workers)
        self._ready: dict[tuple[str, frozenset[Rule]], str] = {}
        self._making = threading.Lock()

    def ssh(self, cidrs: Iterable[str], network_id: str = "") -> str:
        """Id of the group that lets ssh in from these ranges.

        ``network_id`` is an administrator's network. It is empty for the service network.
        """
        owner = f"{SSH}/{network_id}" if network_id else SSH
        wanted = frozenset(Rule("tcp", 22, cidr) for cidr in (*cidrs, *self._workers))
        return self._ensure(owner, wanted)

    def of_ssh(self) -> list[str]:
        """Ids of networks that have a group for ssh now. An empty id is the service network."""
        owners = (self._neutron.owner_of(group) or "" for group in self._groups.ours())
        return [owner.partition("/")[2] for owner in owners if owner.partition("/")[0] == SSH]

    def clients(self, cidrs: Iterable[str]) -> list[str]:
        """Ids of the groups that let in clients of shares from these ranges."""
        return [self._ensure(f"{CLIENTS}{cidr}", share_rules(cidr)) for cidr in sorted(set(cidrs))]

    def forget(self) -> None:
        """Forget which groups exist, because one of them was missing."""
        self._ready.clear()

    def sweep(self, group_ids: Iterable[str]) -> None:
        """Remove those groups of clients that no port uses any more."""
        for group in map(self._groups.get, group_ids):
            if group is None or not (self._neutron.owner_of(group) or "").startswith(CLIENTS):
                continue
            if self._neutron.ports.find(security_groups=group["id"], fields="id"):
                continue
            self.forget()
            try:
                self._groups.delete(group["id"])
            except CloudUnavailable:
                continue  # a port was just made with it, and the group goes when that port does

    def purge(self) -> None:
        """Remove all."""
        self.forget()
        for group in self._groups.ours():
            self._groups.delete(group["id"])

    def _ensure(self, owner: str, wanted: frozenset[Rule]) -> str:
        with self._making:
            if (owner, wanted) not in self._ready:
                self._ready[owner, wanted] = self._converge(owner, wanted)
            return self._ready[owner, wanted]

    def _converge(self, owner: str, wanted: frozenset[Rule]) -> str:
        try:
            # Another worker may have removed the group, or added the same rule, just now.
            return repeated(
                lambda: self._converge_once(owner, wanted), on=(CloudNotFound, CloudUnavailable)
            )
        except OutOfCapacity as error:
            raise OutOfCapacity(error.message, hint=_QUOTAS) from error

    def _converge_once(self, owner: str, wanted: frozenset[Rule]) -> str:
        group = self._groups.provide(owner, lambda group: bool(_let_in(group)))
        self._add(group, wanted)
        for rule in _let_in(group):
            if _rule(rule) not in wanted:
                self._neutron.api.delete(f"/security-group-rules/{rule['id']}")
        return str(group["id"])

    def _add(self, group: Json, wanted: frozenset[Rule]) -> None:
        missing = wanted - {_rule(rule) for rule in _let_in(group)}
        wishes = [rule.wish | {"security_group_id": group["id"]} for rule in sorted(missing)]
        if wishes:
            self._neutron.api.post("/security-group-rules", {"security_group_rules": wishes})


def share_rules(cidr: str) -> frozenset[Rule]:
    """The rules that clients in this range need."""
    return frozenset(
        Rule(protocol, port, cidr) for protocol, ports in SHARE_PORTS.items() for port in ports
    )


def _let_in(group: Json) -> list[Json]:
    return [rule for rule in group["security_group_rules"] if rule["direction"] == "ingress"]


def _rule(found: Json) -> Rule | None:
    """The rule that Neutron describes, or None if Atoll never makes such a rule."""
    if found["port_range_min"] is None or found["port_range_min"] != found["port_range_max"]:
        return None
    if not found["remote_ip_prefix"] or not found["protocol"]:
        return None
    return Rule(found["protocol"], found["port_range_min"], found["remote_ip_prefix"])
