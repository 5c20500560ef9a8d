"""Bridges with DHCP, as libvirt networks: their XML, and the calls to libvirt about them."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network
from pathlib import Path

import libvirt
import msgspec

from atoll.cloud.local.connection import Connection, translated
from atoll.cloud.local.domain import NAMESPACE, parsed
from atoll.cloud.local.records import is_id
from atoll.cloud.program import run
from atoll.errors import CloudNotFound

_LIVE_AND_CONFIG = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE | libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG

MOST_PORTS = 1000
"""The most ports in one network, however large its range is."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A fixed address."""

    mac: str
    address: str


@dataclass(frozen=True, slots=True)
class Bridge:
    """One bridge. Its lower addresses are for ports, the top quarter for other DHCP clients."""

    id: str
    cidr: IPv4Network
    name: str

    @property
    def host_address(self) -> str:
        """The host's own address."""
        return str(self.cidr[1])

    def leases(self) -> Iterator[Lease]:
        """The MACs and addresses that ports may have, lowest address first.

        DHCP gets all of them when the network is made, so that making a port needs no call to
        libvirt.
        """
        tag = hashlib.sha256(self.id.encode()).digest()
        for n in range(2, min(self._first_dynamic, MOST_PORTS + 2)):
            octets = (0x52, 0x54, tag[0], tag[1], n >> 8, n & 0xFF)
            yield Lease(":".join(f"{octet:02x}" for octet in octets), str(self.cidr[n]))

    @property
    def dynamic_range(self) -> tuple[str, str]:
        """First and last address for machines that Atoll hasn't made."""
        return str(self.cidr[self._first_dynamic]), str(self.cidr[-2])

    @property
    def _first_dynamic(self) -> int:
        return self.cidr.num_addresses * 3 // 4


def bridge_prefix(deployment: str) -> str:
    """The prefix of the names of a deployment's bridges, by which they can be recognised."""
    return f"at{hashlib.sha256(deployment.encode()).hexdigest()[:4]}-"


def bridge_name(deployment: str, network_id: str) -> str:
    """A bridge's name. The kernel allows 15 characters."""
    return bridge_prefix(deployment) + network_id[:8]


class Bridges:
    """libvirt's networks of one deployment."""

    def __init__(self, connection: Connection, deployment: str) -> None:
        self._connection = connection
        self._deployment = deployment

    def active(self, bridge: Bridge) -> bool:
        """Whether it exists and is active."""
        found = self._find(bridge.id)
        with translated("Looking at a network"):
            return found is not None and bool(found.isActive())

    def ensure(self, bridge: Bridge) -> None:
        """Define and start it, if need be. Only one caller at a time may do this."""
        with translated("Making a network"):
            found = self._find(bridge.id)
            if found is None:
                found = self._connection().networkDefineXML(self._xml(bridge))
                found.setAutostart(True)
            if not found.isActive():
                found.create()

    def restore(self, bridge: Bridge) -> str:
        """Restore the device, its address and its DHCP server. Returns what was missing, or "".

        Only one caller at a time may do this. If the device is new, instances' interfaces have to
        be plugged in again.
        """
        device = Path("/sys/class/net") / bridge.name
        with translated("Repairing a network"):
            found = self._find(bridge.id)
            if found is None or not found.isActive() or not device.exists():
                if found is not None and found.isActive():
                    found.destroy()  # libvirt believes that these are there
                self.ensure(bridge)
                return "bridge"
        address = f"{bridge.host_address}/{bridge.cidr.prefixlen}"
        if not _is_up_with(bridge.name, address):
            run(["ip", "link", "set", "dev", bridge.name, "up"])
            run(["ip", "address", "replace", address, "dev", bridge.name])
            return "address"
        if not _serves_dhcp(bridge.name):
            with translated("Starting a DHCP server"):
                command = libvirt.VIR_NETWORK_UPDATE_COMMAND_MODIFY
                section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
                entry = ET.tostring(_host(next(bridge.leases())), encoding="unicode")
                # libvirt starts it whenever its entries are written, even if they are the same.
                found.update(command, section, -1, entry, _LIVE_AND_CONFIG)
            return "DHCP server"
        return ""

    def foreign(self, network_id: str) -> Bridge | None:
        """Any network of libvirt's with a bridge and an IPv4 range, or None."""
        root = self._description(network_id)
        if root is None:
            return None
        device, ip = root.find("bridge"), root.find("ip[@netmask]")
        if device is None or ip is None:
            return None
        cidr = IPv4Network(f"{ip.get('address')}/{ip.get('netmask')}", strict=False)
        return Bridge(network_id, cidr, device.get("name", ""))

    def is_users(self, network_id: str) -> bool:
        """Whether it is a network that was not made by any deployment of Atoll on this machine."""
        root = self._description(network_id)
        return root is not None and root.find(f"./metadata/{{{NAMESPACE}}}network") is None

    def leased(self, bridge: Bridge) -> set[str]:
        """Addresses that have a fixed DHCP entry in the network, of any owner."""
        root = self._description(bridge.id)
        entries = () if root is None else root.iterfind("./ip/dhcp/host")
        return {entry.get("ip", "") for entry in entries}

    def _description(self, network_id: str) -> ET.Element | None:
        found = self._find(network_id)
        if found is None:
            return None
        with translated("Looking at a network"):
            return parsed(found.XMLDesc())

    def remove(self, bridge: Bridge) -> None:
        """Remove it. It may be gone already."""
        found = self._find(bridge.id)
        if found is None:
            return
        with translated("Removing a network"):
            if found.isActive():
                found.destroy()
            found.undefine()

    def add_lease(self, bridge: Bridge, lease: Lease) -> None:
        """Add a fixed DHCP entry to a network that Atoll hasn't made."""
        self._update(bridge, lease, libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, wanted=True)

    def remove_lease(self, bridge: Bridge, lease: Lease) -> None:
        """Remove that entry."""
        self._update(bridge, lease, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, wanted=False)

    def tagged(self) -> list[str]:
        """Names of this deployment's networks, with or without a record."""
        found = []
        with translated("Listing networks"):
            for network in self._connection().listAllNetworks():
                tag = parsed(network.XMLDesc()).find(f"./metadata/{{{NAMESPACE}}}network")
                if tag is not None and tag.get("deployment") == self._deployment:
                    found.append(network.name())
        return found

    def remove_named(self, name: str) -> None:
        """Remove a network that ``tagged`` has named."""
        with translated("Removing a network"):
            found = self._connection().networkLookupByName(name)
            if found.isActive():
                found.destroy()
            found.undefine()

    @staticmethod
    def taken() -> list[IPv4Network]:
        """Ranges in which this machine has an address or a route."""
        routes = msgspec.json.decode(run(["ip", "-json", "-4", "route", "show", "table", "all"]))
        found = []
        for route in routes:
            if route["dst"] != "default" and route.get("type", "unicast") in ("unicast", "local"):
                network = ip_network(route["dst"], strict=False)
                assert isinstance(network, IPv4Network)
                found.append(network)
        return found

    def _find(self, network_id: str) -> libvirt.virNetwork | None:
        if not is_id(network_id):
            return None
        try:
            with translated("Looking for a network"):
                return self._connection().networkLookupByUUIDString(network_id)
        except CloudNotFound:
            return None

    def _update(self, bridge: Bridge, lease: Lease, command: int, *, wanted: bool) -> None:
        found = self._find(bridge.id)
        if found is None:
            return
        with translated("Fixing an address"):
            entries = parsed(found.XMLDesc()).iterfind("./ip/dhcp/host")
            if wanted == any(entry.get("mac") == lease.mac for entry in entries):
                return
            section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
            entry = ET.tostring(_host(lease), encoding="unicode")
            found.update(command, section, -1, entry, _LIVE_AND_CONFIG)

    def _xml(self, bridge: Bridge) -> str:
        root = ET.Element("network")
        ET.SubElement(root, "name").text = bridge.name
        ET.SubElement(root, "uuid").text = bridge.id
        tag = ET.SubElement(ET.SubElement(root, "metadata"), f"{{{NAMESPACE}}}network")
        tag.set("deployment", self._deployment)
        ET.SubElement(root, "bridge", name=bridge.name, stp="off", delay="0")
        ET.SubElement(root, "dns", enable="no")
        mask = str(bridge.cidr.netmask)
        ip = ET.SubElement(root, "ip", address=bridge.host_address, netmask=mask)
        dhcp = ET.SubElement(ip, "dhcp")
        start, end = bridge.dynamic_range
        ET.SubElement(dhcp, "range", start=start, end=end)
        dhcp.extend(_host(lease) for lease in bridge.leases())
        return ET.tostring(root, encoding="unicode")


def _is_up_with(device: str, address: str) -> bool:
    """Whether the device is up and has the address (``a.b.c.d/n``)."""
    (shown,) = msgspec.json.decode(run(["ip", "-json", "address", "show", "dev", device]))
    have = {f"{each['local']}/{each['prefixlen']}" for each in shown.get("addr_info", ())}
    return "UP" in shown["flags"] and address in have


def _serves_dhcp(device: str) -> bool:
    """Whether a dnsmasq of libvirt's runs for the bridge."""
    sign = f"/{device}.conf".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it has just ended
            if b"dnsmasq" in words and sign in words:
                return True
    return False


def _host(lease: Lease) -> ET.Element:
    return ET.Element("host", mac=lease.mac, ip=lease.address)
