"""How a worker's host gets into the service network: a port of its own, plugged into this machine.

The Neutron agent of this host does the rest: Linux bridge's plugs every ``tap…`` device that it
finds into its network's bridge; Open vSwitch's does the same for ports of the integration bridge
that carry a Neutron port's id. With ``none`` the host reaches the service network by itself (it
is routed, or a bastion stands before it), and nothing is made here.
"""

from __future__ import annotations

from typing import Literal

from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.host_devices import Devices, InternalPort, VethPair, set_addresses
from atoll.cloud.openstack.networks import NeutronNetworks
from atoll.cloud.openstack.neutron import found_or_made
from atoll.cloud.openstack.ports import mac_for
from atoll.cloud.openstack.subnets import HOST
from atoll.errors import CloudError

Interface = Literal["linuxbridge", "openvswitch", "none"]


class HostPort:
    """This host's place in the service network of one deployment. Needs root to plug it in."""

    def __init__(
        self,
        networks: NeutronNetworks,
        host: str,
        interface: Interface,
        integration_bridge: str = "br-int",
    ) -> None:
        """``host``: as ``openstack network agent list`` has this machine's name."""
        self._networks = networks
        self._neutron = networks.neutron
        self._host = host
        self._owner = f"host/{host}"
        self._devices: Devices | None = None
        if interface == "linuxbridge":
            self._devices = VethPair()
        elif interface == "openvswitch":
            self._devices = InternalPort(integration_bridge)

    def ensure(self) -> None:
        """Have the port, with an address in each of the network's subnets, plugged in and up.

        Raises ``CloudError`` where Neutron has no working agent on this host.
        """
        if self._devices is None:
            return
        network = self._networks.service_network()
        port = self._provide(network.id, [subnet.id for subnet in network.subnets])
        prefixes = {subnet.id: subnet.cidr.partition("/")[2] for subnet in network.subnets}
        addresses = {
            f"{fixed['ip_address']}/{prefixes[fixed['subnet_id']]}"
            for fixed in port["fixed_ips"]
            if fixed["subnet_id"] in prefixes
        }
        self._devices.remove_others(port)
        device = self._devices.plug(port, network.mtu)
        set_addresses(device, addresses)

    def remove(self) -> None:
        """Take it out of this machine and of Neutron. Absent is fine."""
        for port in self._neutron.ports.of(self._owner):
            if self._devices is not None:
                self._devices.unplug(port["id"])
            self._neutron.ports.delete(port["id"])

    def _provide(self, network_id: str, subnet_ids: list[str]) -> Json:
        ports = self._neutron.ports
        fixed_ips = [{"subnet_id": subnet_id} for subnet_id in subnet_ids]

        def find() -> Json | None:
            return next(iter(ports.of(self._owner, network_id=network_id)), None)

        def make(_attempt: int) -> Json:
            wish: Json = {
                "network_id": network_id,
                "device_owner": HOST,
                "device_id": self._host,
                "binding:host_id": self._host,
                "mac_address": mac_for(self._neutron.mark(self._owner), network_id),
                "fixed_ips": fixed_ips,
                "security_groups": [],
            }
            network = self._neutron.networks.get(network_id) or {}
            if "port_security_enabled" in network:
                wish["port_security_enabled"] = False
            return ports.create(self._owner, **wish)

        port = found_or_made(find, make)
        have = {fixed["subnet_id"] for fixed in port["fixed_ips"]}
        if missing := [wish for wish in fixed_ips if wish["subnet_id"] not in have]:
            port = ports.update(port["id"], fixed_ips=[*port["fixed_ips"], *missing])
        if port["binding:vif_type"] == "binding_failed":
            port = ports.update(port["id"], **{"binding:host_id": self._host})
        if port["binding:vif_type"] == "binding_failed":
            raise CloudError(
                f"Neutron has no working agent on the host {self._host!r}, so this machine can't "
                "be plugged into the service network.",
                hint="Set service_network_host to this machine's name in 'openstack network agent "
                "list', or choose another way to reach service instances.",
            )
        return port
