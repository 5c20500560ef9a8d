"""Bad days on real machines: killed workers and QEMUs, reboots, a hung instance, a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.client_vm import ClientVm, CommandFailed
from harness.wait import wait
from tests.system.deployment import LibvirtDeployment, gib

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]

WRITER = Path(harness.__file__).with_name("writer.py")


@pytest.fixture(scope="module")
def share(deployment: LibvirtDeployment, client: ClientVm) -> Any:
    """A share that is in use on all of these days."""
    made = deployment.available(deployment.share("used"))
    deployment.allow(made, client.address())
    client.mount(deployment.export(made), "/mnt/used")
    client.run("dd if=/dev/urandom of=/mnt/used/data bs=1M count=8 conv=fsync")
    client.run("sha256sum /mnt/used/data > /tmp/sum")
    client.put(WRITER, "/tmp/writer.py")
    return made


def check_data(client: ClientVm, seconds: float = 120) -> None:
    client.run("echo 3 > /proc/sys/vm/drop_caches; sha256sum --check /tmp/sum", seconds=seconds)


class Writing:
    """A client that writes without pause while something bad happens."""

    def __init__(self, client: ClientVm) -> None:
        self._client = client

    def __enter__(self) -> Writing:
        self._client.run(
            "rm -f /tmp/stop; nohup python3 /tmp/writer.py /mnt/used/stream /tmp/stop"
            " > /tmp/writer.json 2>&1 &"
        )
        return self

    def __exit__(self, *_: object) -> None:
        end = "touch /tmp/stop; while pgrep -f '[w]riter.py' > /dev/null; do sleep 1; done"
        self._client.run(end, seconds=240)
        self.seen: dict[str, Any] = json.loads(self._client.run("cat /tmp/writer.json"))


def kill_worker(
    deployment: LibvirtDeployment, moment: Callable[[], bool], in_progress: Callable[[], bool]
) -> None:
    """SIGKILL, at the moment; the supervisor starts another.

    Stopped first: so that it is certain that the verb was still in progress when it died.
    """
    worker = deployment.service.children()["worker"]
    wait("the moment", moment, 60, pause=0.002)
    os.kill(worker, signal.SIGSTOP)
    was_in_progress = in_progress()
    os.kill(worker, signal.SIGKILL)
    assert was_in_progress, "the verb had ended before its worker was killed"
    wait(
        "another worker", lambda: deployment.service.children().get("worker", worker) != worker, 60
    )


def volumes_of(deployment: LibvirtDeployment, share: Any) -> list[dict[str, Any]]:
    return [v for v in deployment.records("volumes") if v["owner"] == f"share/{share.id}"]


@pytest.mark.long
def test_the_worker_dies_in_create(
    deployment: LibvirtDeployment, client: ClientVm, share: Any
) -> None:
    before = deployment.made()
    new = deployment.share("new")
    # The volume is there, and about to be plugged in.
    kill_worker(
        deployment,
        lambda: bool(volumes_of(deployment, new)),
        lambda: bool(deployment.api.get_share(new.id).status == "creating"),
    )
    deployment.available(new)
    assert deployment.made() == before | {"volumes": before["volumes"] + 1}
    assert len(volumes_of(deployment, new)) == 1
    deployment.allow(new, client.address())
    client.mount(deployment.export(new), "/mnt/new")
    client.run("echo one > /mnt/new/file")
    client.unmount("/mnt/new")
    deployment.remove(new)
    assert deployment.made() == before


@pytest.mark.long
def test_the_worker_dies_in_extend(
    deployment: LibvirtDeployment, client: ClientVm, share: Any
) -> None:
    before = deployment.made()
    with Writing(client) as writing:
        deployment.api.resize_share(share.id, 2)
        # The volume is larger, its file system not yet.
        kill_worker(
            deployment,
            lambda: [v["size_gib"] for v in volumes_of(deployment, share)] == [2],
            lambda: bool(deployment.api.get_share(share.id).status == "extending"),
        )
        assert deployment.available(share).size == 2
    assert (writing.seen["errors"], writing.seen["writes"] > 0) == (0, True)
    assert gib(client, "/mnt/used") > 1.8
    assert deployment.made() == before
    check_data(client)


@pytest.mark.long
def test_the_worker_dies_in_a_snapshot(
    deployment: LibvirtDeployment, client: ClientVm, share: Any
) -> None:
    before = deployment.made()
    with Writing(client) as writing:
        snapshot = deployment.api.create_share_snapshot(share_id=share.id, name="moment")
        # The file system is frozen, and the copy begun.
        kill_worker(
            deployment,
            lambda: bool(deployment.records("snapshots")),
            lambda: bool(deployment.api.get_share_snapshot(snapshot.id).status == "creating"),
        )
        wait(
            "the snapshot",
            lambda: deployment.api.get_share_snapshot(snapshot.id).status == "available",
        )
    assert (writing.seen["errors"], writing.seen["writes"] > 0) == (0, True)
    assert deployment.made() == before | {"snapshots": before["snapshots"] + 1}
    copy = deployment.available(deployment.share("copy", size=2, snapshot_id=snapshot.id))
    deployment.allow(copy, client.address(), "ro")
    client.mount(deployment.export(copy), "/mnt/copy")
    client.run("cd /mnt/copy && sed s/used/copy/ /tmp/sum | sha256sum --check")
    client.unmount("/mnt/copy")
    deployment.api.delete_share_snapshot(snapshot.id)
    wait("the snapshot to go", lambda: not list(deployment.api.share_snapshots()))
    deployment.remove(copy)
    assert deployment.made() == before


@pytest.mark.long
def test_the_worker_dies_in_delete(
    deployment: LibvirtDeployment, client: ClientVm, share: Any
) -> None:
    before, layers = deployment.made(), deployment.layers()
    new = deployment.available(deployment.share("new"))
    deployment.api.delete_share(new.id)
    # The instance has let go of the volume; the volume is about to go.
    kill_worker(
        deployment,
        lambda: [v["instance_id"] for v in volumes_of(deployment, new)] in ([""], []),
        lambda: new.id in [s.id for s in deployment.api.shares()],
    )
    wait("the share to go", lambda: new.id not in [s.id for s in deployment.api.shares()])
    assert deployment.made() == before
    assert set(deployment.layers()) <= set(
        layers
    )  # one may have been merged into another meanwhile
    server = deployment.server(share)
    assert new.id not in deployment.inside(server, "cat /proc/mounts; ls /shares /etc/exports.d")
    check_data(client)


@pytest.mark.long
def test_the_instance_is_killed(
    deployment: LibvirtDeployment, client: ClientVm, share: Any
) -> None:
    before, export = deployment.made(), deployment.export(share)
    server = deployment.server(share)
    with Writing(client) as writing:
        os.kill(deployment.qemu(server), signal.SIGKILL)
        check_data(client, seconds=240)  # hangs, and goes on by itself
    assert writing.seen["errors"] == 0
    assert writing.seen["writes"] > 0
    assert deployment.export(share) == export
    assert deployment.made() == before


@pytest.mark.long
def test_the_instance_reboots_while_atoll_is_down(
    deployment: LibvirtDeployment, client: ClientVm, share: Any
) -> None:
    server = deployment.server(share)

    def boot_id() -> str:
        try:
            return deployment.inside(server, "cat /proc/sys/kernel/random/boot_id", seconds=240)
        except CommandFailed:
            return ""

    before = boot_id()
    deployment.service.stop()
    try:
        deployment.inside(server, "(sleep 1; reboot -f) > /dev/null 2>&1 &")
        wait("the reboot", lambda: boot_id() not in ("", before))
        check_data(client, seconds=240)
    finally:
        deployment.service.start()
    deployment.remove(deployment.available(deployment.share("next")))


@pytest.mark.long
def test_an_instance_hangs(deployment: LibvirtDeployment, client: ClientVm, share: Any) -> None:
    other = deployment.network("other")["share_network_id"]
    first = deployment.available(deployment.share("elsewhere", share_network_id=other))
    hung = deployment.qemu(deployment.server(share))
    os.kill(hung, signal.SIGSTOP)
    try:
        rule = deployment.api.create_access_rule(
            share.id, access_level="ro", access_type="ip", access_to="10.0.0.1"
        )
        begun = time.monotonic()
        second = deployment.available(deployment.share("meanwhile", share_network_id=other))
        deployment.allow(second, "10.0.0.1")
        deployment.remove(second)
        assert time.monotonic() - begun < 30
        assert deployment.api.get_access_rule(rule.id).state != "error"
    finally:
        os.kill(hung, signal.SIGCONT)
    assert deployment.settled_rule(rule) == "active"
    check_data(client)
    deployment.remove(first)
    deployment.api.delete_share_network(other)
    wait("one instance to be left", lambda: deployment.made()["instances"] == 1)


CRASHES = {
    "crashed": "echo c > /proc/sysrq-trigger",
    "hung": "echo -1 > /proc/sys/kernel/sched_rt_runtime_us;"
    ' exec chrt -f 99 sh -c "while :; do :; done"',
}
"""What a kernel does not survive; after the second nothing else runs any more."""


@pytest.mark.long
@pytest.mark.parametrize("crash", ["crashed", "hung"])
def test_a_kernel_that_crashed_or_hung_comes_back_without_atoll(
    deployment: LibvirtDeployment, client: ClientVm, share: Any, crash: str
) -> None:
    server = deployment.server(share)
    qemu, before = deployment.qemu(server), boot_id(deployment, server)
    worker = deployment.service.children()["worker"]
    with Writing(client) as writing:
        deployment.inside(
            server,
            "until systemctl --quiet is-active atoll-watchdog; do sleep 1; done\n"
            f"echo 'sleep 1; {CRASHES[crash]}' > /run/crash\n"
            "nohup sh /run/crash > /dev/null 2>&1 &",
        )
        os.kill(worker, signal.SIGSTOP)
        try:
            wait("a boot", lambda: boot_id(deployment, server) not in ("", before), 400, pause=2)
            check_data(client, seconds=400)
        finally:
            os.kill(worker, signal.SIGCONT)
    assert writing.seen["errors"] == 0
    assert deployment.qemu(server) == qemu
    # A new share would be placed on another instance as long as this one counts as silent.
    wait("Atoll to reach it again", lambda: not deployment.silent_servers())


def boot_id(deployment: LibvirtDeployment, server: dict[str, Any]) -> str:
    """The id of the instance's boot; empty if it does not answer."""
    try:
        return deployment.inside(server, "cat /proc/sys/kernel/random/boot_id", seconds=60)
    except (CommandFailed, subprocess.TimeoutExpired):
        return ""


@pytest.mark.long
def test_the_hosts_disk_is_full(
    deployment: LibvirtDeployment, client: ClientVm, share: Any
) -> None:
    spare = deployment.available(deployment.share("spare"))
    before, layers = deployment.made(), deployment.layers()
    deployment.restart(reserved_gib=1e6)
    unmade = deployment.settled(deployment.share("unmade"), "error")
    [message] = [m for m in deployment.api.user_messages() if m.resource_id == unmade.id]
    assert "no room" in message.user_message
    assert "GiB left" not in message.user_message
    deployment.api.resize_share(share.id, 3)
    deployment.settled(share, "extending_error")
    assert deployment.made() == before
    assert set(deployment.layers()) <= set(layers)
    client.run("echo one > /mnt/used/file; sync")
    check_data(client)
    deployment.remove(spare, unmade)
    assert len(deployment.layers()) < len(layers)
    deployment.restart()
    deployment.api.post(
        f"/shares/{share.id}/action",
        json={"reset_status": {"status": "available"}},
        microversion="2.51",
    )
    deployment.api.resize_share(share.id, 3)
    assert deployment.available(share).size == 3
