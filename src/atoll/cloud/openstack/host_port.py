"""How a worker's host gets into the service network: by Neutron ports plugged into the machine.

The Neutron agent of this host does the rest: Linux bridge's plugs every ``tap…`` device that it
finds into its network's bridge; Open vSwitch's does the same for ports of the integration bridge
that carry a Neutron port's id. With ``none`` the host reaches the service network by itself (it
is routed, or a bastion stands before it), and nothing is made here.

A port's device never exists without the rules that close the host on it (``host_rules``).
"""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from atoll.cloud.openstack import host_rules
from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.host_devices import (
    Devices,
    InternalPort,
    VethPair,
    is_on_link,
    overlaps,
    set_addresses,
)
from atoll.cloud.openstack.networks import NeutronNetworks
from atoll.cloud.openstack.ports import mac_for
from atoll.cloud.openstack.settings import OpenStackSettings
from atoll.cloud.openstack.subnets import HOST
from atoll.cloud.sole import found_or_made
from atoll.errors import CloudError

ADDRESSES = 5
"""How many addresses a port may have, by Neutron's default (``max_fixed_ips_per_port``)."""


class HostPort:
    """This host's ports in the network that instances are reached in.

    Plugging them in needs root.
    """

    def __init__(self, networks: NeutronNetworks, settings: OpenStackSettings) -> None:
        self._networks = networks
        self._neutron = networks.neutron
        self.host = settings.service_network_host or socket.gethostname()
        self._owner = f"host/{self.host}"
        self._devices: Devices | None = None
        self._lock = settings.state_dir / "host-port.lock"
        self._note = settings.state_dir / "host-port"
        if settings.service_network_interface == "linuxbridge":
            self._devices = VethPair()
        elif settings.service_network_interface == "openvswitch":
            self._devices = InternalPort(settings.ovs_integration_bridge)

    def reach(self, address: str) -> None:
        """``ensure``, unless a device of this host has an address in the same subnet already.

        This host needs an address in each service subnet, whichever worker made it.
        """
        if self._devices is None:
            return
        if not any(is_on_link(address, device) for device in self._plugged):
            self.ensure()

    @property
    def _plugged(self) -> list[str]:
        """The host's devices, from a record, so that a worker starts without asking Neutron."""
        return self._note.read_text(encoding="ascii").split() if self._note.exists() else []

    def ensure(self) -> None:
        """Have ports with an address in each of the network's subnets, plugged in and up.

        Raises ``CloudError`` where Neutron has no working agent on this host, or where the host is
        in another network of the same range.
        """
        if self._devices is None:
            return
        with self._alone():
            network = self._networks.service.management()
            subnets = self._networks.subnets.in_network(network["id"])
            cidrs = {subnet["id"]: subnet["cidr"] for subnet in subnets}
            ports = self._provide(network, list(cidrs))
            names = [self._devices.name(port["id"]) for port in ports]
            # Devices that are plugged in keep their rules until they are removed.
            host_rules.ensure(self._neutron.deployment, sorted({*names, *self._plugged}))
            for port in ports:
                self._plug(self._devices, port, network["mtu"], cidrs)
            self._note.write_text("\n".join(names), encoding="ascii")
            host_rules.ensure(self._neutron.deployment, names)

    def guard(self) -> bool:
        """Restore the rules that close this host; True if somebody had changed them."""
        if self._devices is None or not self._plugged:
            return False
        with self._alone():
            return host_rules.ensure(self._neutron.deployment, self._plugged)

    def is_guarded(self) -> bool:
        """Whether the rules are complete; True if this host has no port to close."""
        if self._devices is None or not self._plugged:
            return True
        return host_rules.are_whole(self._neutron.deployment, self._plugged)

    def _plug(self, devices: Devices, port: Json, mtu: int, cidrs: dict[str, str]) -> None:
        addresses = {
            f"{fixed['ip_address']}/{cidrs[fixed['subnet_id']].partition('/')[2]}"
            for fixed in port["fixed_ips"]
            if fixed["subnet_id"] in cidrs
        }
        devices.remove_others(port)
        device = devices.plug(port, mtu)
        for other, range_ in overlaps(device, addresses).items():
            raise CloudError(
                f"This machine is in {range_} already, by its device {other}: the service "
                "network has addresses in the same range, so it can't be reached from here.",
                hint="Give this deployment another service_network_cidr.",
            )
        set_addresses(device, addresses)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold a lock of this host, because a port's addresses can only be set all at once."""
        self._lock.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        with self._lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def remove(self) -> None:
        """Remove the ports from this machine and from Neutron. They may be absent."""
        self._note.unlink(missing_ok=True)
        for port in self._neutron.ports.of(self._owner):
            if self._devices is not None:
                self._devices.unplug(port["id"])
            self._neutron.ports.delete(port["id"])
        if self._devices is not None:
            host_rules.remove(self._neutron.deployment)

    def _provide(self, network: Json, subnet_ids: list[str]) -> list[Json]:
        """The host's ports, which together have an address in each of the subnets."""
        ports = self._neutron.ports.of(self._owner, network_id=network["id"])
        have = {fixed["subnet_id"] for port in ports for fixed in port["fixed_ips"]}
        missing = [subnet_id for subnet_id in subnet_ids if subnet_id not in have]
        for number, port in enumerate(ports):
            room = max(0, ADDRESSES - len(port["fixed_ips"]))
            if missing[:room]:
                wish = [*port["fixed_ips"], *({"subnet_id": each} for each in missing[:room])]
                ports[number] = self._neutron.ports.update(port["id"], fixed_ips=wish)
                del missing[:room]
        while missing or not ports:
            ports.append(self._make(network, missing[:ADDRESSES]))
            del missing[:ADDRESSES]
        return [self._bound(port) for port in ports]

    def _make(self, network: Json, subnet_ids: list[str]) -> Json:
        """Make another port.

        Its MAC depends on its first subnet, so there can't be two for that subnet.
        """
        ports, network_id = self._neutron.ports, network["id"]
        mac = mac_for(self._neutron.mark(self._owner), network_id, *subnet_ids[:1])

        def find() -> Json | None:
            found = ports.of(self._owner, network_id=network_id)
            return next((port for port in found if port["mac_address"] == mac), None)

        def make(_attempt: int) -> Json:
            wish: Json = {
                "network_id": network_id,
                "device_owner": HOST,
                "device_id": self.host,
                "binding:host_id": self.host,
                "mac_address": mac,
                "fixed_ips": [{"subnet_id": subnet_id} for subnet_id in subnet_ids],
                "security_groups": [],
            }
            if "port_security_enabled" in network:
                wish["port_security_enabled"] = False
            return ports.create(self._owner, **wish)

        return found_or_made(find, make)

    def _bound(self, port: Json) -> Json:
        """The port, bound to this host.

        Raises ``CloudError`` if no agent of Neutron can plug it in.
        """
        if port["binding:vif_type"] == "binding_failed":
            bind = {"binding:host_id": self.host}
            port = self._neutron.ports.update(port["id"], **bind)
        if port["binding:vif_type"] == "binding_failed":
            raise CloudError(
                f"Neutron has no working agent on the host {self.host!r}, so this machine can't "
                "be plugged into the service network.",
                hint="Set service_network_host to this machine's name in 'openstack network agent "
                "list', or choose another way to reach service instances.",
            )
        return port
