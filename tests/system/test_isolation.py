"""What a client on one share network can reach: the shares' ports of its own instance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.client_vm import ClientVm
from tests.system.deployment import LibvirtDeployment

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]

NFS = {111: "rpcbind", 2049: "nfsd", 20048: "mountd", 32765: "statd", 32803: "lockd"}
SSH = 22

PROBE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def probe(place):
    try:
        socket.create_connection(tuple(place), timeout=3).close()
    except TimeoutError:
        return "silence"
    except OSError as error:
        return error.strerror
    return "open"

places = json.loads(sys.argv[1])
print(json.dumps(list(ThreadPoolExecutor(len(places)).map(probe, places))))
"""


@dataclass
class Scene:
    """Two share networks with an instance each, and a client on the first."""

    deployment: LibvirtDeployment
    client: ClientVm
    near: dict[str, Any]
    far: dict[str, Any]
    service_hosts: tuple[str, ...]

    def reach(self, *places: tuple[str, int]) -> list[str]:
        """What the client meets at each address and port."""
        self.client.run(f"cat > /tmp/probe.py <<'E'\n{PROBE}\nE")
        said = self.client.run(f"python3 /tmp/probe.py '{json.dumps(places)}'", root=False)
        answers: list[str] = json.loads(said)
        return answers


@pytest.fixture(scope="module")
def scene(deployment: LibvirtDeployment) -> Iterator[Scene]:
    here, there = deployment.network(), deployment.network("other")
    near = deployment.share("near")
    far = deployment.share("far", share_network_id=there["share_network_id"])
    deployment.boot_client(here)
    servers = [deployment.server(deployment.available(share)) for share in (near, far)]
    host = servers[0]["ip"].rpartition(".")[0] + ".1"
    yield Scene(deployment, deployment.client, servers[0], servers[1], (host, servers[0]["ip"]))
    deployment.client.run("ip route flush proto boot dev eth1")


def test_the_shares_ports_are_reached(scene: Scene) -> None:
    address = scene.near["public_address"]
    assert scene.reach(*((address, port) for port in NFS)) == ["open"] * len(NFS)


def test_the_instances_login_is_not(scene: Scene) -> None:
    near = scene.near
    assert scene.reach((near["public_address"], SSH)) == ["silence"]


def test_nor_by_the_instances_other_address(scene: Scene) -> None:
    # The instance answers on any interface for any of its addresses, if it is let.
    near = scene.near
    scene.client.run(f"ip route replace {near['ip']}/32 via {near['public_address']} dev eth1")
    answers = scene.reach((near["ip"], SSH))
    scene.client.run(f"ip route delete {near['ip']}/32")
    assert answers == ["silence"]


def test_the_host_is_not(scene: Scene) -> None:
    host = scene.near["public_address"].rpartition(".")[0] + ".1"
    scene.client.run(f"ip route replace {scene.service_hosts[0]}/32 via {host} dev eth1")
    api = int(scene.deployment.service.url.rpartition(":")[2])
    places = [(h, port) for h in (host, scene.service_hosts[0]) for port in (SSH, 53, api)]
    assert scene.reach(*places) == ["silence"] * len(places)


def test_the_other_share_network_is_not(scene: Scene) -> None:
    host = scene.near["public_address"].rpartition(".")[0] + ".1"
    far = scene.far["public_address"]
    scene.client.run(f"ip route replace {far}/32 via {host} dev eth1")
    assert scene.reach((far, 2049), (far, SSH)) == ["silence"] * 2


def test_the_service_network_is_not(scene: Scene) -> None:
    host = scene.near["public_address"].rpartition(".")[0] + ".1"
    servers = [server["ip"] for server in (scene.near, scene.far)]
    for server in servers:
        scene.client.run(f"ip route replace {server}/32 via {host} dev eth1")
    places = [(server, port) for server in servers for port in (SSH, 2049)]
    assert scene.reach(*places) == ["silence"] * len(places)


def test_instances_dont_reach_each_other_nor_the_host(scene: Scene) -> None:
    here = scene.deployment.inside
    api = int(scene.deployment.service.url.rpartition(":")[2])
    host = scene.service_hosts[0]
    places = [(scene.far["ip"], SSH), (host, SSH), (host, api)]
    script = f"cat > /tmp/probe.py <<'E'\n{PROBE}\nE\npython3 /tmp/probe.py '{json.dumps(places)}'"
    assert set(json.loads(here(scene.near, script))) <= {"silence", "No route to host"}
