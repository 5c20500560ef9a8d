"""Bad days on real machines: killed workers and QEMUs, reboots, a hung instance, a full disk."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import demo
from demo.client import ClientVm, CommandFailed
from tests.system.site import Site, gib, wait

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]

WRITER = Path(demo.__file__).with_name("writer.py")


@pytest.fixture(scope="module")
def client(site: Site) -> ClientVm:
    site.network()
    site.boot_client()
    site.remove(site.available(site.share("first")))
    return site.client


@pytest.fixture(scope="module")
def share(site: Site, client: ClientVm) -> Any:
    """A share that is in use on all of these days."""
    made = site.available(site.share("used"))
    site.allow(made, client.address())
    client.mount(site.export(made), "/mnt/used")
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


def kill_worker(site: Site, moment: Callable[[], bool], in_progress: Callable[[], bool]) -> None:
    """SIGKILL, at the moment; the supervisor starts another.

    Stopped first: so that it is certain that the verb was still in progress when it died.
    """
    worker = site.service.children()["worker"]
    deadline = time.monotonic() + 60
    while not moment():
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.002)
    os.kill(worker, signal.SIGSTOP)
    was_in_progress = in_progress()
    os.kill(worker, signal.SIGKILL)
    assert was_in_progress, "the verb had ended before its worker was killed"
    wait("another worker", lambda: site.service.children().get("worker", worker) != worker, 60)


def volumes_of(site: Site, share: Any) -> list[dict[str, Any]]:
    return [v for v in site.records("volumes") if v["owner"] == f"share/{share.id}"]


def test_the_worker_dies_in_create(site: Site, client: ClientVm, share: Any) -> None:
    before = site.made()
    new = site.share("new")
    # The volume is there, and about to be plugged in.
    kill_worker(
        site,
        lambda: bool(volumes_of(site, new)),
        lambda: bool(site.api.get_share(new.id).status == "creating"),
    )
    site.available(new)
    assert site.made() == before | {"volumes": before["volumes"] + 1}
    assert len(volumes_of(site, new)) == 1
    site.allow(new, client.address())
    client.mount(site.export(new), "/mnt/new")
    client.run("echo one > /mnt/new/file")
    client.unmount("/mnt/new")
    site.remove(new)
    assert site.made() == before


def test_the_worker_dies_in_extend(site: Site, client: ClientVm, share: Any) -> None:
    before = site.made()
    with Writing(client) as writing:
        site.api.resize_share(share.id, 2)
        # The volume is larger, its file system not yet.
        kill_worker(
            site,
            lambda: [v["size_gib"] for v in volumes_of(site, share)] == [2],
            lambda: bool(site.api.get_share(share.id).status == "extending"),
        )
        assert site.available(share).size == 2
    assert (writing.seen["errors"], writing.seen["writes"] > 0) == (0, True)
    assert gib(client, "/mnt/used") > 1.8
    assert site.made() == before
    check_data(client)


def test_the_worker_dies_in_a_snapshot(site: Site, client: ClientVm, share: Any) -> None:
    before = site.made()
    with Writing(client) as writing:
        snapshot = site.api.create_share_snapshot(share_id=share.id, name="moment")
        # The file system is frozen, and the copy begun.
        kill_worker(
            site,
            lambda: bool(site.records("snapshots")),
            lambda: bool(site.api.get_share_snapshot(snapshot.id).status == "creating"),
        )
        wait(
            "the snapshot",
            lambda: site.api.get_share_snapshot(snapshot.id).status == "available",
        )
    assert (writing.seen["errors"], writing.seen["writes"] > 0) == (0, True)
    assert site.made() == before | {"snapshots": before["snapshots"] + 1}
    copy = site.available(site.share("copy", size=2, snapshot_id=snapshot.id))
    site.allow(copy, client.address(), "ro")
    client.mount(site.export(copy), "/mnt/copy")
    client.run("cd /mnt/copy && sed s/used/copy/ /tmp/sum | sha256sum --check")
    client.unmount("/mnt/copy")
    site.api.delete_share_snapshot(snapshot.id)
    wait("the snapshot to go", lambda: not list(site.api.share_snapshots()))
    site.remove(copy)
    assert site.made() == before


def test_the_worker_dies_in_delete(site: Site, client: ClientVm, share: Any) -> None:
    before, layers = site.made(), site.layers()
    new = site.available(site.share("new"))
    site.api.delete_share(new.id)
    # The instance has let go of the volume; the volume is about to go.
    kill_worker(
        site,
        lambda: [v["instance_id"] for v in volumes_of(site, new)] in ([""], []),
        lambda: new.id in [s.id for s in site.api.shares()],
    )
    wait("the share to go", lambda: new.id not in [s.id for s in site.api.shares()])
    assert site.made() == before
    assert set(site.layers()) <= set(layers)  # one may have been merged into another meanwhile
    server = site.server(share)
    assert new.id not in site.inside(server, "cat /proc/mounts; ls /shares /etc/exports.d")
    check_data(client)


def test_the_instance_is_killed(site: Site, client: ClientVm, share: Any) -> None:
    before, export = site.made(), site.export(share)
    server = site.server(share)
    with Writing(client) as writing:
        os.kill(site.qemu(server), signal.SIGKILL)
        check_data(client, seconds=240)  # hangs, and goes on by itself
    assert writing.seen["errors"] == 0
    assert writing.seen["writes"] > 0
    assert site.export(share) == export
    assert site.made() == before


def test_the_instance_and_its_disk_are_lost(site: Site, client: ClientVm, share: Any) -> None:
    before, export = site.made(), site.export(share)
    server = site.server(share)
    [instance] = site.records("instances")
    with Writing(client) as writing:
        [disk] = site.state.glob(f"local/*/instances/{instance['id']}/root.qcow2")
        disk.write_bytes(b"")
        os.kill(site.qemu(server), signal.SIGKILL)
        check_data(client, seconds=400)
    assert writing.seen["errors"] == 0
    assert site.export(share) == export
    assert site.made() == before
    [replaced] = site.records("instances")
    assert replaced["id"] != instance["id"]


def test_the_instance_reboots_while_atoll_is_down(site: Site, client: ClientVm, share: Any) -> None:
    server = site.server(share)

    def boot_id() -> str:
        try:
            return site.inside(server, "cat /proc/sys/kernel/random/boot_id", seconds=240)
        except CommandFailed:
            return ""

    before = boot_id()
    site.service.stop()
    try:
        site.inside(server, "(sleep 1; reboot -f) > /dev/null 2>&1 &")
        wait("the reboot", lambda: boot_id() not in ("", before))
        check_data(client, seconds=240)
    finally:
        site.service.start()
    site.remove(site.available(site.share("next")))


def test_an_instance_hangs(site: Site, client: ClientVm, share: Any) -> None:
    other = site.network("other")["share_network_id"]
    first = site.available(site.share("elsewhere", share_network_id=other))
    hung = site.qemu(site.server(share))
    os.kill(hung, signal.SIGSTOP)
    try:
        rule = site.api.create_access_rule(
            share.id, access_level="ro", access_type="ip", access_to="10.0.0.1"
        )
        begun = time.monotonic()
        second = site.available(site.share("meanwhile", share_network_id=other))
        site.allow(second, "10.0.0.1")
        site.remove(second)
        assert time.monotonic() - begun < 30
        assert site.api.get_access_rule(rule.id).state != "error"
    finally:
        os.kill(hung, signal.SIGCONT)
    assert site.settled_rule(rule) == "active"
    check_data(client)
    site.remove(first)
    site.api.delete_share_network(other)
    wait("one instance to be left", lambda: site.made()["instances"] == 1)


def test_the_hosts_disk_is_full(site: Site, client: ClientVm, share: Any) -> None:
    spare = site.available(site.share("spare"))
    before, layers = site.made(), site.layers()
    site.restart(reserved_gib=1e6)
    unmade = site.settled(site.share("unmade"), "error")
    [message] = [m for m in site.api.user_messages() if m.resource_id == unmade.id]
    assert "no room" in message.user_message
    assert "GiB left" not in message.user_message
    site.api.resize_share(share.id, 3)
    site.settled(share, "extending_error")
    assert site.made() == before
    assert set(site.layers()) <= set(layers)
    client.run("echo one > /mnt/used/file; sync")
    check_data(client)
    site.remove(spare, unmade)
    assert len(site.layers()) < len(layers)
    site.restart()
    site.api.post(
        f"/shares/{share.id}/action",
        json={"reset_status": {"status": "available"}},
        microversion="2.51",
    )
    site.api.resize_share(share.id, 3)
    assert site.available(share).size == 3
