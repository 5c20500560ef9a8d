"""Who answers in a real OpenStack's networks: the only proof that packets find their way."""

from __future__ import annotations

import socket
import time

from atoll.cloud.openstack import OpenStackCloud
from atoll.cloud.openstack.host_devices import is_on_link

from .instance_double import hears


def dhcp_server(cloud: OpenStackCloud, subnet_id: str) -> str:
    """An address in that subnet which answers."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        for port in cloud.networks.neutron.ports.find(fixed_ips=f"subnet_id={subnet_id}"):
            if port["device_owner"] == "network:dhcp" and port["status"] == "ACTIVE":
                found = {each["subnet_id"]: each["ip_address"] for each in port["fixed_ips"]}
                return str(found[subnet_id])
        time.sleep(1)
    raise AssertionError("no DHCP agent serves the subnet")


def is_answered(address: str, port: int = 53, seconds: float = 60) -> bool:
    """Whether somebody listens there, in a network that we are in; Neutron's DHCP servers do.

    Elsewhere a machine's gateway may answer for addresses that nobody has.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if is_on_link(address):
                socket.create_connection((address, port), 2).close()
                return True
        except OSError:
            pass
        time.sleep(0.5)
    return False


def falls_silent(network_id: str, address: str, port: int) -> bool:
    """Whether nobody is heard any more: the router's agent needs some seconds."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not hears(network_id, address, port, 3):
            return True
        time.sleep(1)
    return False
