"""Network devices of this machine that are Neutron ports: veth pairs, or ports of Open vSwitch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from pathlib import Path

import msgspec

from atoll.cloud.openstack.api import Json
from atoll.cloud.program import run
from atoll.errors import CloudError

_ID_LETTERS = 11
"""Characters of a port's id in its devices' names, as Neutron's agents expect."""
_PREFIXES = ("ns-", "tap")
ASK_AGAIN_MS = 200
"""Pause between two ARP or neighbour requests for the MAC of an address."""


class Devices:
    """How a port is plugged into this machine. Each method may be called again."""

    def name(self, port_id: str) -> str:
        """The device's name, whether it is there yet or not."""
        raise NotImplementedError

    def plug(self, port: Json, mtu: int) -> str:
        """Have a device that is the port, up; returns its name."""
        raise NotImplementedError

    def unplug(self, port_id: str) -> None:
        """Remove the device. Absent is fine."""
        raise NotImplementedError

    def remove_others(self, port: Json) -> None:
        """Remove devices of an earlier port of this host. They have the same MAC."""
        for device in _json(["ip", "-json", "link", "show"]):
            name, prefix = device["ifname"], device["ifname"][:-_ID_LETTERS]
            ours = prefix in _PREFIXES and device.get("address") == port["mac_address"]
            if ours and name[-_ID_LETTERS:] != port["id"][:_ID_LETTERS]:
                self.unplug(name[-_ID_LETTERS:])


class VethPair(Devices):
    """For the Linux bridge agent: one end of the pair is the agent's, the other is Atoll's."""

    def name(self, port_id: str) -> str:
        """The device's name, whether it is there yet or not."""
        return f"ns-{port_id[:_ID_LETTERS]}"

    def plug(self, port: Json, mtu: int) -> str:
        """Have a device that is the port, up; returns its name."""
        name = self.name(port["id"])
        agents = f"tap{port['id'][:_ID_LETTERS]}"
        if not exists(name):
            argv = ["ip", "link", "add", name, "type", "veth", "peer", "name", agents]
            _unless_there(argv, name)
        run(["ip", "link", "set", name, "address", port["mac_address"], "mtu", str(mtu), "up"])
        run(["ip", "link", "set", agents, "mtu", str(mtu), "up"])
        return name

    def unplug(self, port_id: str) -> None:
        """Remove the device. Absent is fine."""
        name = self.name(port_id)
        if exists(name):
            run(["ip", "link", "delete", name])


class InternalPort(Devices):
    """For the Open vSwitch agent: a device of its integration bridge."""

    def __init__(self, bridge: str) -> None:
        self._bridge = bridge

    def name(self, port_id: str) -> str:
        """The device's name, whether it is there yet or not."""
        return f"tap{port_id[:_ID_LETTERS]}"

    def plug(self, port: Json, mtu: int) -> str:
        """Have a device that is the port, up; returns its name."""
        name = self.name(port["id"])
        run(self.argv(name, port))
        run(["ip", "link", "set", name, "address", port["mac_address"], "mtu", str(mtu), "up"])
        return name

    def argv(self, name: str, port: Json) -> list[str]:
        """The ``ovs-vsctl`` command that makes the device, or finds it."""
        # A MAC has colons, so ovs-vsctl needs its value in quotes.
        ids = (
            f'iface-id="{port["id"]}"',
            "iface-status=active",
            f'attached-mac="{port["mac_address"]}"',
        )
        return [
            "ovs-vsctl",
            "--may-exist",
            "add-port",
            self._bridge,
            name,
            "--",
            "set",
            "Interface",
            name,
            "type=internal",
            *(f"external_ids:{each}" for each in ids),
        ]

    def unplug(self, port_id: str) -> None:
        """Remove the device. Absent is fine."""
        run(["ovs-vsctl", "--if-exists", "del-port", self._bridge, self.name(port_id)])


def set_addresses(device: str, wanted: set[str]) -> None:
    """Set exactly these addresses (``a.b.c.d/n``) on the device, besides link-local ones.

    It answers ARP requests for these only, and not for those of another device in the network.
    """
    # By default, every device answers for all addresses of the machine.
    _tune(f"ipv4/conf/{device}/arp_ignore", 1)
    # By default, the kernel asks once a second, and finds an instance that much later.
    for family in ("ipv4", "ipv6"):
        _tune(f"{family}/neigh/{device}/retrans_time_ms", ASK_AGAIN_MS)
    (found,) = _json(["ip", "-json", "address", "show", "dev", device])
    have = {
        f"{each['local']}/{each['prefixlen']}"
        for each in found["addr_info"]
        if each["scope"] != "link"
    }
    for address in sorted(wanted - have):
        extra = ["nodad"] if ip_interface(address).version == 6 else []
        run(["ip", "address", "replace", address, "dev", device, *extra])
    for address in sorted(have - wanted):
        run(["ip", "address", "delete", address, "dev", device])


def is_on_link(address: str, device: str = "") -> bool:
    """Whether the device (or else any of Atoll's, of all deployments) is in the address's range."""
    wanted = ip_address(address)
    return any(
        wanted in range_
        for name, range_ in _ranges()
        if (name == device if device else name.startswith(_PREFIXES))
    )


def overlaps(device: str, addresses: Iterable[str]) -> dict[str, str]:
    """Ranges of other devices of this machine that overlap with those of ``addresses``, by name."""
    wanted = [ip_interface(address).network for address in addresses]
    return {
        name: str(range_)
        for name, range_ in _ranges()
        if name != device and any(range_.overlaps(mine) for mine in wanted)
    }


def _tune(setting: str, value: int) -> None:
    with suppress(OSError):  # some containers have these files read-only, and none of them is vital
        Path(f"/proc/sys/net/{setting}").write_text(str(value), encoding="ascii")


def _ranges() -> Iterator[tuple[str, IPv4Network | IPv6Network]]:
    """Devices that are up, with the ranges that they have an address in."""
    for found in _json(["ip", "-json", "address", "show", "up"]):
        for each in found.get("addr_info", ()):
            if each["scope"] != "link":
                range_ = ip_interface(f"{each['local']}/{each['prefixlen']}").network
                yield found["ifname"], range_


def exists(device: str) -> bool:
    """Whether this machine has a network device of that name."""
    return any(each["ifname"] == device for each in _json(["ip", "-json", "link", "show"]))


def _unless_there(argv: list[str], device: str) -> None:
    try:
        run(argv)
    except CloudError:
        if not exists(device):  # otherwise another worker of this host was quicker
            raise


def _json(argv: list[str]) -> list[Json]:
    found: list[Json] = msgspec.json.decode(run(argv))
    return found
