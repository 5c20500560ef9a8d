"""A real service instance: its devices, its NFS server, its Samba, and its boot without Atoll.

The instance is its own client, from two of its addresses; the kernel's NFS and SMB clients do what
they would elsewhere.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from atoll.errors import GuestUnreachable
from atoll.guest.base import ExportRule, Freeze, Guest, WantedShare, digest
from atoll.guest.pool import GuestPool
from atoll.guest.ssh import await_banner
from harness.service_vm import BOOT_SECONDS, ServiceVm
from tests.guest.conftest import rules

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

HOME, AWAY = "127.0.0.1", "10.0.2.15"
GIB = 1 << 30
LISTING = f"showmount -e {AWAY}; showmount -a {AWAY}; rpcinfo -p | grep 100005"
"""Commands that list shares and clients; 100005 is the number of mountd."""


@pytest.fixture(scope="module")
def pool() -> Iterator[GuestPool]:
    pool = GuestPool()
    yield pool
    pool.close()


@pytest.fixture
def guest(machine: ServiceVm, pool: GuestPool) -> Guest:
    """The channel that the tests share, because opening one takes ten seconds when emulated."""
    return pool.get("machine", machine.open, BOOT_SECONDS)


def new_share(serial: str, **changes: object) -> WantedShare:
    share_id = f"share-{serial[:8]}"
    share = WantedShare(
        share_id=share_id,
        serial=serial,
        file_system="ext4",
        may_format=True,
        path=f"/shares/{share_id}",
        protocol="NFS",
        fsid=serial,
        rules=rules(HOME),
    )
    return replace(share, **changes)  # type: ignore[arg-type]


def plug(machine: ServiceVm) -> str:
    serial = str(uuid4())
    machine.disk(serial)
    return serial


def nfs(share: WantedShare, place: str, server: str = HOME, version: str = "4.2") -> str:
    options = f"vers={version},soft,timeo=50,retrans=2" + (",nolock" if version == "3" else "")
    return f"mkdir -p {place} && mount -t nfs -o {options} {server}:{share.path} {place}\n"


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_share_is_mounted_by_those_who_may(machine: ServiceVm, guest: Guest, kind: str) -> None:
    read_only = ExportRule("ip", "10.0.2.0/24", "ro")
    share = new_share(plug(machine), file_system=kind, rules=(read_only, *rules(HOME)))
    assert guest.apply_share(share, fence=1).formatted
    (served,) = (one for one in guest.health().shares if one.share_id == share.share_id)
    assert served.exported
    assert served.rules_digest == digest(share.rules or (), share.squash)
    words = machine.shell(
        nfs(share, "/mnt/rw")
        + nfs(share, "/mnt/ro", AWAY, "3")
        + "echo hello > /mnt/rw/file && cat /mnt/ro/file && stat -c %U /mnt/ro/file\n"
        + "touch /mnt/ro/no && echo WRITTEN; chmod 0750 /mnt/rw && stat -c %a /shares/*\n"
        + "umount /mnt/rw /mnt/ro"
    )
    assert "hello\nnobody\n" in words  # root is squashed
    assert "Read-only file system" in words
    assert "WRITTEN" not in words
    guest.remove_share(share.share_id, share.path, fence=2)


def test_access_that_is_taken_away_ends_at_once(machine: ServiceVm, guest: Guest) -> None:
    share = new_share(plug(machine), rules=rules(HOME, AWAY))
    guest.apply_share(share, fence=1)
    machine.shell(
        nfs(share, "/mnt/home")
        # Version 3, as an NFSv4 client would notice that both are one server, and use one address.
        + nfs(share, "/mnt/away", AWAY, "3")
        + "exec 3> /mnt/home/open; echo one >&3; exec 3>&-; touch /mnt/away/mine"
    )
    guest.apply_share(replace(share, rules=rules(AWAY)), fence=1)
    words = machine.shell("ls /mnt/home 2>&1; ls /mnt/away; echo two > /mnt/away/mine")
    assert "Stale file handle" in words
    assert "mine\nopen" in words  # the other client noticed nothing
    guest.apply_share(share, fence=1)
    assert "mine" in machine.shell("sleep 1; ls /mnt/home; umount /mnt/home /mnt/away")


def test_a_thousand_rules_are_one_step(machine: ServiceVm, guest: Guest) -> None:
    share = new_share(plug(machine))
    guest.apply_share(share, fence=1)
    start = time.monotonic()
    guest.apply_share(replace(share, rules=rules("10.9.9.9")), fence=1)
    one_rule = time.monotonic() - start
    many = tuple(rules(*(f"10.{n // 200}.{n % 200}.0/24" for n in range(999))))
    start = time.monotonic()
    applied = guest.apply_share(replace(share, rules=(*many, *rules("2001:db8::1"))), fence=1)
    assert applied.rejected_rules == {}
    # The machine may be busy, so it is compared with one rule. One by one takes 1,000 times that.
    assert time.monotonic() - start < 60 * one_rule
    (served,) = (one for one in guest.health().shares if one.share_id == share.share_id)
    assert served.rules_digest == digest((*many, *rules("2001:db8::1")), share.squash)
    # Each change of another share, and each boot, would take seconds longer.
    guest.remove_share(share.share_id, share.path, fence=2)


@pytest.mark.long
def test_a_share_grows_under_a_writing_client(machine: ServiceVm, guest: Guest) -> None:
    share = new_share(plug(machine))
    guest.apply_share(share, fence=1)
    machine.shell(
        nfs(share, "/mnt/grow")
        + "nohup sh -c 'for n in $(seq 60); do sleep 0.1; echo $n >> /mnt/grow/log || "
        + "touch /tmp/bad; sync -f /mnt/grow; done; touch /tmp/done' > /dev/null 2>&1 &"
    )
    machine.resize(share.serial, 3)
    applied = guest.apply_share(replace(share, may_format=False, rules=None), fence=2)
    assert applied.size_bytes > 2.8 * GIB
    words = machine.shell(
        "until test -e /tmp/done; do sleep 0.5; done\n"
        "wc -l < /mnt/grow/log; df --output=size -BG /mnt/grow; umount /mnt/grow\n"
        "test ! -e /tmp/bad"
    )
    assert words.split() == ["60", "1G-blocks", "3G"]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_larger_clone_lives_beside_its_parent(
    machine: ServiceVm, guest: Guest, kind: str
) -> None:
    parent = new_share(plug(machine), file_system=kind)
    guest.apply_share(parent, fence=1)
    machine.shell(nfs(parent, "/mnt/parent") + "echo old > /mnt/parent/f; sync -f /mnt/parent")
    serial = str(uuid4())
    copy = machine.folder / f"{serial}.raw"
    freeze = Freeze("snapshot/one")
    guest.freeze_share(parent.share_id, parent.path, freeze, seconds=60)
    shutil.copyfile(machine.folder / f"{parent.serial}.raw", copy)
    guest.thaw_share(parent.share_id, parent.path, freeze)
    with copy.open("r+b") as file:
        file.truncate(2 * GIB)
    machine.plug(serial, copy)
    clone = new_share(serial, file_system=kind, may_format=False)
    applied = guest.apply_share(clone, fence=1)
    assert not applied.formatted
    assert applied.size_bytes > 1.8 * GIB
    words = machine.shell(
        nfs(clone, "/mnt/clone")
        + "echo new > /mnt/clone/f; cat /mnt/parent/f /mnt/clone/f; umount /mnt/parent /mnt/clone"
    )
    assert words == "old\nnew\n"  # two file systems, also to an NFS client


def test_an_open_file_does_not_keep_a_share_from_going(machine: ServiceVm, guest: Guest) -> None:
    share, other = new_share(plug(machine)), new_share(plug(machine))
    guest.apply_share(share, fence=1)
    guest.apply_share(other, fence=1)
    hold = "nohup python3 -c \"import time; f = open('{}/held', 'w'); f.write('x'); f.flush();\""
    machine.shell(
        nfs(share, "/mnt/gone")
        + nfs(other, "/mnt/stays")
        + hold.format("/mnt/gone").replace(';"', '; time.sleep(600)" > /dev/null 2>&1 &')
    )
    guest.remove_share(share.share_id, share.path, fence=2)
    words = machine.shell("mount | grep -c /shares/; echo x > /mnt/stays/f; cat /mnt/stays/f")
    assert share.path not in machine.shell("cat /proc/mounts | grep ^/dev || true")
    assert words.endswith("x\n")
    machine.unplug(share.serial)
    machine.shell("umount -l /mnt/gone; umount /mnt/stays")


@pytest.mark.long
def test_cifs_sessions_end_when_access_does(machine: ServiceVm, guest: Guest) -> None:
    share = new_share(plug(machine), protocol="CIFS", rules=rules(HOME, "10.0.2.0/24"))
    guest.apply_share(share, fence=1, deadline=120)
    mount = "mkdir -p {0} && mount -t cifs -o guest,vers=3.0 //{1}/{2} {0}\n"
    machine.shell(
        mount.format("/mnt/home", HOME, share.share_id)
        + mount.format("/mnt/away", AWAY, share.share_id)
        + "echo hello > /mnt/home/file; cat /mnt/away/file"
    )
    guest.apply_share(replace(share, rules=rules("10.0.2.0/24")), fence=1)
    words = machine.shell(
        "timeout 60 ls /mnt/home 2>&1; ls /mnt/away; umount -l /mnt/home /mnt/away"
    )
    assert words.count("file\n") == 1
    guest.remove_share(share.share_id, share.path, fence=2)
    assert share.path not in machine.shell("net conf list")


@pytest.mark.long
def test_a_share_stays_mounted_whatever_udev_makes_of_its_disk(
    machine: ServiceVm, guest: Guest
) -> None:
    """systemd believes udev, and unmounts what has a mount unit when the disk seems to be gone."""
    share = new_share(plug(machine))
    guest.apply_share(share, fence=1)
    look_again = "udevadm trigger --settle --action=change /sys/class/block/sd?\n"
    machine.shell(
        "mkdir -p /run/udev/rules.d; cd /run/udev/rules.d\n"
        """echo 'SUBSYSTEM=="block", ENV{SYSTEMD_READY}="0"' > 99-blind.rules\n"""
        "udevadm control --reload\n" + look_again + "rm 99-blind.rules\n"
        "udevadm control --reload\n" + look_again + "sleep 2"
    )
    assert machine.shell(f"findmnt -n -o TARGET {share.path}").strip() == share.path
    machine.shell(nfs(share, "/mnt/udev") + "umount /mnt/udev")


@pytest.fixture
def with_nfs_3_again(machine: ServiceVm) -> Iterator[None]:
    """Later tests use NFS 3, which an instance with a private share never serves again."""
    yield
    machine.shell("rm -f /etc/nfs.conf.d/atoll.conf; systemctl restart nfs-mountd nfs-server")


@pytest.mark.usefixtures("with_nfs_3_again")
def test_nobody_can_list_the_shares_of_several_projects(machine: ServiceVm, guest: Guest) -> None:
    share = new_share(plug(machine))
    guest.apply_share(share, fence=1)
    assert share.path in machine.shell(LISTING, check=False)
    machine.shell(nfs(share, "/mnt/held") + "echo one > /mnt/held/file")
    guest.apply_share(replace(share, private=True), fence=1)
    listed = machine.shell(LISTING, check=False)
    assert share.path not in listed
    assert "100005" not in listed
    machine.shell("cat /mnt/held/file; umount /mnt/held\n" + nfs(share, "/mnt/new"))


@pytest.mark.usefixtures("with_nfs_3_again")
def test_a_rebooted_instance_serves_without_atoll(machine: ServiceVm) -> None:
    """Nobody can list its shares after the reboot either."""
    guest = machine.open()
    kept = new_share(plug(machine), rules=rules(HOME, AWAY), private=True)
    lost = new_share(plug(machine))
    guest.apply_share(kept, fence=1)
    guest.apply_share(lost, fence=1)
    machine.shell(nfs(kept, "/mnt/kept") + "echo kept > /mnt/kept/file; sync -f /mnt/kept")
    machine.kill()
    with pytest.raises(GuestUnreachable):
        guest.health()
    machine.unplug(lost.serial)  # must not keep the others from being served
    machine.start()
    await_banner(HOME, machine.port, BOOT_SECONDS)
    words = machine.shell(
        "for i in $(seq 90); do systemctl -q is-active nfs-server && break; sleep 1; done\n"
        + nfs(kept, "/mnt/kept")
        + "cat /mnt/kept/file; "
        + nfs(lost, "/mnt/lost").replace("&& mount", "&& ! mount")
        + "systemctl --failed --plain --no-legend"
    )
    assert words.startswith("kept\n")
    listed = machine.shell(LISTING, check=False)
    assert kept.path not in listed
    assert "100005" not in listed
    guest = machine.open()
    served = {share.share_id: share for share in guest.health().shares}
    assert served[kept.share_id].exported
    assert not served[lost.share_id].mounted
    assert not served[lost.share_id].exported
    guest.close()
