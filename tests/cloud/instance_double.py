"""What is plugged in like an instance, without one: a network namespace behind a Neutron port.

Neutron's agent filters its packets by the port's security groups, as it would a real instance's.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from atoll.cloud.base import Port
from atoll.cloud.openstack import OpenStackCloud
from atoll.cloud.openstack.host_devices import VethPair
from atoll.cloud.program import run

LISTENER = """
import socket, sys, time
sockets = [socket.create_server(("", int(port))) for port in sys.argv[1:]]
print("listening", flush=True)
time.sleep(600)
"""


@contextmanager
def instance_double(
    cloud: OpenStackCloud, port: Port, gateway: str, *listens: int
) -> Iterator[None]:
    """Somebody with the port's MAC and address, who listens there."""
    name = f"test-{port.id[:8]}"
    neutron = cloud.networks.neutron
    neutron.api.put(
        f"/ports/{port.id}",
        {"port": {"binding:host_id": socket.gethostname(), "device_owner": "compute:test"}},
    )
    cloud.networks.ports.put_up(port.id)
    found = neutron.ports.get(port.id)
    assert found is not None
    run(["ip", "netns", "add", name])
    try:
        device = VethPair().plug(found, 1400)
        run(["ip", "link", "set", device, "netns", name])
        # What Nova does; the agent plugs in all but instances' devices.
        tap, bridge = device.replace("ns-", "tap"), f"brq{port.network_id[:11]}"
        run(["ip", "link", "set", tap, "master", bridge])
        while found is None or found["status"] != "ACTIVE":  # Nova waits for the filters as well
            time.sleep(1)
            found = neutron.ports.get(port.id)
        inside = ["ip", "netns", "exec", name]
        run([*inside, "ip", "address", "add", f"{port.addresses[0]}/28", "dev", device])
        run([*inside, "ip", "link", "set", device, "up"])
        run([*inside, "ip", "route", "add", "default", "via", gateway])
        argv = [*inside, sys.executable, "-c", LISTENER, *map(str, listens)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as listener:
            try:
                assert listener.stdout is not None
                assert listener.stdout.readline()
                yield
            finally:
                listener.kill()
    finally:
        run(["ip", "netns", "delete", name])


def hears(network_id: str, address: str, port: int, seconds: float) -> bool:
    """Whether who is where the network's DHCP server is gets a connection in that time."""
    program = f"import socket; socket.create_connection(({address!r}, {port}), 2)"
    argv = ["ip", "netns", "exec", f"qdhcp-{network_id}", sys.executable, "-c", program]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if subprocess.run(argv, capture_output=True, check=False).returncode == 0:
            return True
        time.sleep(0.5)
    return False
