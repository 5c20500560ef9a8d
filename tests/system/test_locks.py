"""Locks over the loss of an instance and its root disk: kept, and never granted twice."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.client_vm import ClientVm
from harness.wait import wait
from tests.system.deployment import LibvirtDeployment

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]

LOCKER = Path(harness.__file__).with_name("locker.py")
VERSIONS = ("4.2", "4.0", "3")


def place(version: str) -> str:
    return f"/mnt/by{version}"


@pytest.fixture(scope="module")
def share(deployment: LibvirtDeployment, client: ClientVm) -> Any:
    """A share that the client has mounted by each version, so that each is a client of its own."""
    made = deployment.available(deployment.share("locked"))
    deployment.allow(made, client.address())
    for version in VERSIONS:
        client.mount(deployment.export(made), place(version), version=version)
    client.put(LOCKER, "/tmp/locker.py")
    return made


def other(version: str) -> str:
    """A version by which another client asks for the lock that ``version`` holds."""
    return "4.2" if version == "3" else "3"


def tried(client: ClientVm, version: str) -> str:
    command = f"python3 /tmp/locker.py try {place(other(version))}/held-by-{version}"
    return client.run(command, seconds=120).strip()


def test_locks_survive_the_instance_and_its_root_disk(
    deployment: LibvirtDeployment, client: ClientVm, share: Any
) -> None:
    client.run("rm -f /tmp/stop")
    for version in VERSIONS:
        client.run(
            f"nohup python3 /tmp/locker.py hold {place(version)}/held-by-{version} /tmp/stop"
            f" > /tmp/held-by-{version}.json 2>&1 &"
        )
    for version in VERSIONS:
        wait("the lock", partial(_is_held, client, version), 60)
    [instance] = deployment.records("instances")
    [disk] = deployment.state.glob(f"local/*/instances/{instance['id']}/root.qcow2")
    disk.write_bytes(b"")
    os.kill(deployment.qemu(deployment.server(share)), signal.SIGKILL)
    wait("another instance", lambda: _instance_id(deployment) not in ("", instance["id"]), 240)
    after = {version: tried(client, version) for version in VERSIONS}
    client.run("sleep 20; touch /tmp/stop; while pgrep -f '[l]ocker.py hold'; do sleep 1; done")
    seen = {
        version: json.loads(client.run(f"cat /tmp/held-by-{version}.json")) for version in VERSIONS
    }
    assert after == dict.fromkeys(VERSIONS, "refused"), seen
    assert {version: report["errors"] for version, report in seen.items()} == dict.fromkeys(
        VERSIONS, 0
    ), seen


def _is_held(client: ClientVm, version: str) -> bool:
    return tried(client, version) == "refused"


def _instance_id(deployment: LibvirtDeployment) -> str:
    return next((str(found["id"]) for found in deployment.records("instances")), "")
