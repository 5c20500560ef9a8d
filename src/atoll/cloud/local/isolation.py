"""The isolation of instances on this machine: it is checked regularly, and restored.

Other programs change a machine's network, too: ``flush ruleset`` removes Atoll's rules, a script
sets up bridges again, or a dnsmasq is ended. Rules and the isolation of the service network's ports
are checked every few seconds. Bridges, their addresses and DHCP servers, and the interfaces that
are plugged into them are checked in each reconcile pass.
"""

from __future__ import annotations

from pathlib import Path

from atoll.cloud.local import firewall
from atoll.cloud.local.bridge import Bridges
from atoll.cloud.local.domains import Domains
from atoll.cloud.local.networks import LocalNetworks, NetworkRecord
from atoll.cloud.local.records import locked
from atoll.cloud.program import run

_DEVICES = Path("/sys/class/net")


class Isolation:
    """The isolation of one deployment's networks."""

    def __init__(
        self, deployment: str, networks: LocalNetworks, bridges: Bridges, domains: Domains
    ) -> None:
        self._deployment = deployment
        self._networks = networks
        self._bridges = bridges
        self._domains = domains

    def differs(self) -> list[str]:
        """A sentence for each thing that is wrong, among those that can be checked quickly."""
        records = self._networks.records.list()
        if not records:
            return []
        found = [] if self._rules_are_whole(records) else [_RULES]
        return found + [f"{port.name}: {_OPEN}" for port in self._open_ports(records)]

    def tend(self, *, wholly: bool) -> list[str]:
        """Restore what differs; return a sentence for each thing. Raises ``CloudError``."""
        records = self._networks.records.list()
        if not records:
            return []
        done = self._tend_bridges(records) if wholly else []
        if not self._rules_are_whole(records):
            with locked(self._networks.records.directory):
                self._networks.apply_firewall()  # reads the current records
            done.append(_RULES)
        for port in self._open_ports(records):
            run(["bridge", "link", "set", "dev", port.name, "isolated", "on"])
            done.append(f"{port.name}: {_OPEN}")
        return done

    # --- rules and ports ----------------------------------------------------------------------

    def _rules_are_whole(self, records: list[NetworkRecord]) -> bool:
        return firewall.is_whole(
            self._deployment,
            [record.device for record in records if not record.is_service],
            [record.device for record in records if record.is_service],
        )

    def _open_ports(self, records: list[NetworkRecord]) -> list[Path]:
        """Ports of the service network from which other instances in it can be reached."""
        found = []
        for record in records:
            for port in _ports(record.device) if record.is_service else ():
                flag = port / "isolated"
                if flag.exists() and flag.read_text().strip() == "0":
                    found.append(port)
        return found

    # --- bridges ------------------------------------------------------------------------------

    def _tend_bridges(self, records: list[NetworkRecord]) -> list[str]:
        with locked(self._networks.records.directory):
            done = [
                f"The network {record.device} lacked its {gone}."
                for record in self._networks.records.list()
                if (gone := self._bridges.restore(record.bridge))
            ]
        service = {record.device for record in records if record.is_service}
        for bridge, device in self._domains.plugs():
            if not (_DEVICES / device).exists() or not (_DEVICES / bridge).exists():
                continue
            master = _DEVICES / device / "master"
            if not master.exists() or master.resolve().name != bridge:
                isolated = ["isolated", "on"] if bridge in service else []
                run(["ip", "link", "set", "dev", device, "master", bridge, "up"])
                if isolated:
                    run(["bridge", "link", "set", "dev", device, *isolated])
                done.append(f"The interface {device} was not on its network {bridge}.")
        return done


_RULES = "The firewall's rules for this deployment were missing, or had been changed."
_OPEN = "it was not kept apart from other instances in the service network."


def _ports(bridge: str) -> list[Path]:
    """The devices on a bridge, as directories of the kernel's attributes of each."""
    return sorted((_DEVICES / bridge / "brif").glob("*"))
