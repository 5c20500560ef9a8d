"""What goes wrong on one machine: killed workers, daemons and QEMUs, hung instances, full disks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.cloud.base import Volume
from atoll.cloud.local import LocalCloud
from atoll.cloud.local.domains import Domains
from atoll.cloud.program import run
from atoll.errors import AtollError, CloudUnavailable, OutOfCapacity
from harness.wait import wait

from .local_place import local_place, make_local
from .site import BOOT_SECONDS, Site, owner, running_site

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(600)]

# A worker that dies, for real, before or after one call of a snapshot's.
DYING_WORKER = """
import os, signal, sys
from pathlib import Path
from atoll.cloud.local import LocalCloud, LocalSettings
from atoll.cloud.local.domains import Domains
from atoll.cloud.local.layers import Layers
_, place, deployment, volume, owner, room, call, when = sys.argv
room = {"layers": Layers, "domains": Domains}[room]
real = getattr(room, call)
def deadly(*args, **kwargs):
    if when == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(room, call, deadly)
settings = LocalSettings(Path(place), reserved_gib=0)
LocalCloud(deployment, settings).volumes.create_snapshot(owner, volume)
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with local_place() as place:
        run(["mount", "-t", "tmpfs", "-o", "size=2G,mode=0711", "tmpfs", str(place)])
        try:
            made = make_local(place, "days")
            yield made
            made.purge()
        finally:
            run(["umount", "--lazy", str(place)])


@pytest.fixture(scope="module")
def site(cloud: LocalCloud) -> Iterator[Site]:
    """An instance whose power has been cut soon after its first boot, twice."""
    with running_site(cloud, serves=False) as running:
        for _ in range(2):  # the second cut finds what the first has left half written
            cut_power_once_booted(running, cloud)
        running.open_guest().close()
        yield running


def cut_power_once_booted(site: Site, cloud: LocalCloud) -> None:
    started = re.compile("Started.*ssh.service")
    wait("the boot", lambda: started.search(cloud.compute.console(site.instance.id)), BOOT_SECONDS)
    # By now ext4 has the new files' names on the disk, but what is in them only in memory.
    time.sleep(7)
    cut_power(site, cloud)
    (cloud.directory / "instances" / site.instance.id / "console.log").write_text("")
    cloud.compute.reboot_instance(site.instance.id)


def shell(site: Site, script: str) -> str:
    """Run a script as root in the instance."""
    key = Path(site.cloud.directory) / "test-key"  # type: ignore[attr-defined]
    key.write_text(site.private_key)
    key.chmod(0o600)
    argv = ["ssh", "-F", "none", "-i", str(key), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
    argv += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    # Logging in costs an emulated instance seconds: all scripts share one connection.
    argv += ["-o", "ControlMaster=auto", "-o", f"ControlPath={control(site)}"]
    argv += ["-o", "ControlPersist=60", "-o", "ConnectTimeout=60"]
    argv += [f"atoll@{site.access.address}", "sudo sh -e"]
    return run(argv, stdin=script, seconds=BOOT_SECONDS)


def control(site: Site) -> Path:
    """The socket of the shared connection. Without it, the next script logs in anew."""
    return Path(site.cloud.directory) / "ssh-control"  # type: ignore[attr-defined]


DEVICE = """
# An instance's kernel finds a disk that is plugged in when it gets round to it.
until disk=$(grep -sl {} /sys/block/sd*/device/vpd_pg80); do sleep 0.2; done
device=/dev/$(echo $disk | cut -d/ -f4)
"""


def mounted(site: Site, volume: Volume, directory: str, options: str = "") -> None:
    mount = f"mkdir -p {directory}; mount {options} $device {directory}"
    shell(site, DEVICE.format(volume.id) + mount)


@pytest.fixture
def volume(site: Site) -> Iterator[Volume]:
    """A mounted one with a file system, at /v."""
    made = site.attached_volume()
    try:
        shell(site, DEVICE.format(made.id) + "mkfs.ext4 -q $device")
        mounted(site, made, "/v")
        yield made
    finally:
        shell(site, "umount /v || true")
        site.cloud.compute.detach_volume(site.instance.id, made.id)
        site.cloud.volumes.delete_volume(made.id)


def qemu(site: Site, cloud: LocalCloud) -> int:
    run_dir = cloud.directory.parent / "daemon" / "run" / "qemu"
    return int((run_dir / f"atoll-{site.instance.id[:8]}.pid").read_text())


def cut_power(site: Site, cloud: LocalCloud) -> None:
    os.kill(qemu(site, cloud), signal.SIGKILL)
    control(site).unlink(missing_ok=True)

    def is_stopped() -> bool:
        found = cloud.compute.get_instance(site.instance.id)
        assert found is not None
        return found.status == "stopped"

    wait("the power cut", is_stopped, 30)


def kill_qemu(site: Site, cloud: LocalCloud) -> None:
    """And start it again."""
    cut_power(site, cloud)
    cloud.compute.reboot_instance(site.instance.id)
    site.open_guest().close()


def test_an_instance_survives_power_cuts_soon_after_its_first_boot(site: Site) -> None:
    guest = site.open_guest()
    assert guest.health().uptime_seconds > 0
    guest.close()


@pytest.mark.parametrize("qemu_dies_too", [False, True])
@pytest.mark.parametrize(
    "death",
    [
        ("layers", "create", "before"),
        ("layers", "create", "after"),
        ("domains", "switch_disk", "before"),
        ("domains", "switch_disk", "after"),
    ],
    ids="-".join,
)
def test_a_worker_dies_in_a_snapshot(
    cloud: LocalCloud, site: Site, volume: Volume, death: tuple[str, ...], qemu_dies_too: bool
) -> None:
    if qemu_dies_too and death[2] == "before":
        pytest.skip("the same for QEMU as the death just before")
    shell(site, "echo old > /v/old; sync")
    who = owner("snapshot")
    place = str(cloud.settings.state_dir)
    worker = [sys.executable, "-c", DYING_WORKER, place, "days", volume.id, who, *death]
    assert subprocess.run(worker, check=False).returncode == -signal.SIGKILL
    shell(site, "echo meanwhile > /v/meanwhile; sync")
    if qemu_dies_too:
        kill_qemu(site, cloud)
        mounted(site, volume, "/v")
    assert cloud.volumes.find_snapshot(who) is None
    shell(site, "fsfreeze -f /v")
    snapshot = cloud.volumes.create_snapshot(who, volume.id)
    shell(site, "fsfreeze -u /v; echo late > /v/late; sync")
    clone = site.attached_volume(snapshot_id=snapshot.id)
    mounted(site, clone, "/c", "-o ro,noload")
    assert shell(site, "cat /c/old /c/meanwhile; ls /c").split()[:2] == ["old", "meanwhile"]
    assert "late" not in shell(site, "ls /c").split()
    assert shell(site, "cat /v/old /v/meanwhile /v/late").split() == ["old", "meanwhile", "late"]
    shell(site, "umount /c")
    cloud.compute.detach_volume(site.instance.id, clone.id)
    cloud.volumes.delete_volume(clone.id)
    cloud.volumes.delete_snapshot(snapshot.id)
    assert [r.pending for r in cloud.volumes.records.list()] == [""]


def test_rotated_snapshots_keep_their_content_and_the_chain_stays_short(
    cloud: LocalCloud, site: Site, volume: Volume
) -> None:
    kept: list[tuple[str, str]] = []
    for day in range(8):
        shell(site, f"dd if=/dev/urandom of=/v/day{day} bs=64k count=16 2>/dev/null; sync")
        content = shell(site, "cat /v/day* | sha256sum").split()[0]
        kept.append((cloud.volumes.create_snapshot(owner("snapshot"), volume.id).id, content))
        if len(kept) > 2:
            cloud.volumes.delete_snapshot(kept.pop(0)[0])

    def chain() -> list[str]:
        return cloud.volumes.layers.chain(cloud.volumes.records.expect(volume.id).head)

    wait("a shorter chain", lambda: len(chain()) <= 4, 60)
    for snapshot_id, content in kept:
        clone = site.attached_volume(snapshot_id=snapshot_id)
        mounted(site, clone, "/c", "-o ro,noload")
        assert shell(site, "cat /c/day* | sha256sum; umount /c").split()[0] == content
        cloud.compute.detach_volume(site.instance.id, clone.id)
        cloud.volumes.delete_volume(clone.id)
        cloud.volumes.delete_snapshot(snapshot_id)


def test_a_merge_that_is_ending_stands_in_nobodys_way(
    cloud: LocalCloud, site: Site, volume: Volume
) -> None:
    layers = cloud.volumes.layers
    domains = Domains(cloud.connection, "days", cloud.directory / "instances")
    taken = [cloud.volumes.create_snapshot(owner("snapshot"), volume.id)]
    for moment in range(50):
        taken.append(cloud.volumes.create_snapshot(owner("snapshot"), volume.id))
        chain = layers.chain(cloud.volumes.records.expect(volume.id).head)
        domains.merge(site.instance.id, volume.id, *(layers.path(layer) for layer in chain[1:3]))
        time.sleep(moment / 10_000)  # so long does it take to merge nothing
        domains.resize_disk(site.instance.id, volume.id, volume.size_gib << 30)
    for snapshot in taken:
        cloud.volumes.delete_snapshot(snapshot.id)


def test_libvirtd_is_killed(cloud: LocalCloud, site: Site, volume: Volume) -> None:
    daemon = cloud.connection.daemon.directory
    os.kill(int((daemon / "libvirtd.pid").read_text()), signal.SIGKILL)
    for patience in (1, 1, 0):
        try:
            found = cloud.compute.get_instance(site.instance.id)
            break
        except CloudUnavailable:
            assert patience
    assert found is not None
    assert (found.status, found.volume_ids) == ("active", (volume.id,))
    second = site.attached_volume()
    cloud.compute.detach_volume(site.instance.id, second.id)
    cloud.volumes.delete_volume(second.id)


def test_a_qemu_that_hangs_holds_nobody_up_once_it_is_rebooted(
    cloud: LocalCloud, site: Site, volume: Volume
) -> None:
    second = cloud.volumes.create_volume(owner(), 1)
    errors: list[AtollError] = []

    def attach() -> None:
        try:
            cloud.compute.attach_volume(site.instance.id, second.id)
        except AtollError as error:
            errors.append(error)

    os.kill(qemu(site, cloud), signal.SIGSTOP)
    stuck = threading.Thread(target=attach)
    stuck.start()
    time.sleep(1)
    assert stuck.is_alive()
    cloud.compute.reboot_instance(site.instance.id)
    control(site).unlink(missing_ok=True)
    stuck.join(30)
    assert not stuck.is_alive()
    assert [type(error).retryable for error in errors] == [True]
    site.open_guest().close()
    cloud.compute.attach_volume(site.instance.id, second.id)
    mounted(site, volume, "/v")
    cloud.compute.detach_volume(site.instance.id, second.id)
    cloud.volumes.delete_volume(second.id)


def test_a_full_disk_pauses_the_instance_and_loses_nothing(
    cloud: LocalCloud, site: Site, volume: Volume
) -> None:
    layers = cloud.volumes.layers.directory
    with (layers / "filler").open("wb") as filler:
        free = os.statvfs(layers)
        os.posix_fallocate(filler.fileno(), 0, (free.f_bavail * free.f_frsize) - (20 << 20))
    with pytest.raises(OutOfCapacity):
        cloud.volumes.create_volume(owner(), 1)
    with pytest.raises(OutOfCapacity):
        cloud.volumes.create_snapshot(owner("snapshot"), volume.id)
    written: list[str] = []
    script = "dd if=/dev/zero bs=1M count=60 | tr '\\0' x > /v/big; sync; sha256sum /v/big"
    writer = threading.Thread(target=lambda: written.append(shell(site, script)))
    writer.start()

    def fault() -> str:
        found = cloud.compute.get_instance(site.instance.id)
        assert found is not None
        return found.fault

    assert "room" in wait("a full disk", fault, 120)
    (layers / "filler").unlink()
    found = cloud.compute.get_instance(site.instance.id)
    assert found is not None
    assert (found.status, found.fault) == ("active", "")
    writer.join(120)
    assert written
    assert written[0].split()[0] == shell(site, "sha256sum /v/big").split()[0]


def test_more_is_not_promised_than_may_be(cloud: LocalCloud) -> None:
    settings = replace(cloud.settings, max_over_subscription_ratio=1.5)
    careful = LocalCloud(cloud.deployment, settings)
    first = careful.volumes.create_volume(owner(), 2)  # of 2 GiB that there are
    with pytest.raises(OutOfCapacity):
        careful.volumes.create_volume(owner(), 2)
    with pytest.raises(OutOfCapacity):
        careful.volumes.extend_volume(first.id, 4)
    assert careful.volumes.list_volumes() == [first]
    careful.volumes.delete_volume(first.id)
    careful.close()


def test_sixty_volumes_are_on_one_instance(cloud: LocalCloud, site: Site) -> None:
    volumes = [site.attached_volume() for _ in range(60)]
    wait_for_disks(site, {volume.id for volume in volumes})
    for volume in volumes:
        cloud.compute.detach_volume(site.instance.id, volume.id)
        cloud.volumes.delete_volume(volume.id)
    wait_for_disks(site, set())


def wait_for_disks(site: Site, wanted: set[str]) -> None:
    """Until these and no others are the instance's disks: its kernel looks in its own time."""
    serials = "cat /sys/block/sd*/device/vpd_pg80 2>/dev/null | tr -c '0-9a-f-' '\\n'"

    def seen() -> set[str]:
        return set(re.findall(r"[0-9a-f-]{36}", shell(site, serials)))

    wait(f"the disks {sorted(wanted)}", lambda: seen() == wanted, 120, pause=0.5)
