"""Shares on real devices and file systems of this machine; only NFS and Samba are doubles."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.errors import DeviceNotBlank, GuestBusy, GuestError, StaleFence
from atoll.guest.agent import mounts
from atoll.guest.base import ExportRule, digest
from atoll.guest.channel import SshGuest
from tests.guest.conftest import KINDS, MIB, Disks, InstanceDouble, rules, wanted


@KINDS
def test_a_new_share_is_formatted_mounted_and_exported(
    guest: SshGuest, site: InstanceDouble, disks: Disks, kind: str
) -> None:
    share = wanted(site, disks.plug(), file_system=kind)
    applied = guest.apply_share(share, fence=1)
    assert applied.formatted
    assert applied.rejected_rules == {}
    assert applied.size_bytes > 400 * MIB
    assert Path(share.path).is_mount()
    root = Path(share.path).stat()
    assert (root.st_mode & 0o7777, root.st_uid) == (0o1777, 65534)
    assert list(Path(share.path).iterdir()) == []
    found = disks.carried(share.serial)
    assert (found["TYPE"], found["UUID"]) == (kind, share.fsid)
    assert "LABEL" not in found
    assert f" /dev/disk/by-uuid/{share.fsid} {share.path}\n" in site.unit(share)
    (served,) = guest.health().shares
    assert served.mounted
    assert served.exported
    assert served.rules_digest == digest(share.rules or (), share.squash)
    (used,) = guest.usage()
    assert (used.share_id, used.size_bytes) == (share.share_id, applied.size_bytes)


def test_applying_again_changes_nothing(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    (Path(share.path) / "data").write_text("kept")
    again = guest.apply_share(share, fence=1)
    assert not again.formatted
    assert (Path(share.path) / "data").read_text() == "kept"
    assert site.lines("exportfs.log") == ["-r"]


def test_a_share_comes_back_in_another_instance(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    (Path(share.path) / "data").write_text("kept")
    guest.remove_share(share.share_id, share.path, fence=2)
    assert not Path(share.path).exists()
    assert not guest.apply_share(share, fence=3).formatted
    assert (Path(share.path) / "data").read_text() == "kept"


def test_a_disk_that_was_pulled_out_is_missed_and_mounted_again(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    (Path(share.path) / "data").write_text("kept")
    os.sync()
    disks.pull(share.serial)
    (served,) = guest.health().shares
    assert not served.mounted
    disks.plug_back(share.serial)
    (served,) = guest.health().shares
    assert not served.mounted
    assert not guest.apply_share(share, fence=2).formatted
    (served,) = guest.health().shares
    assert (served.mounted, served.exported) == (True, True)
    assert (Path(share.path) / "data").read_text() == "kept"


def test_a_disk_that_is_plugged_in_is_never_unmounted_for_another(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    other = wanted(site, disks.plug(), path=share.path, share_id=share.share_id)
    with pytest.raises(GuestError, match="Another device is mounted"):
        guest.apply_share(other, fence=2)
    assert Path(share.path).is_mount()


def test_a_root_that_is_not_squashed_owns_its_share(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug(), squash="no_root_squash")
    guest.apply_share(share, fence=1)
    assert Path(share.path).stat().st_uid == 0


@pytest.mark.parametrize(
    "make",
    [
        ["mkfs.ext4", "-q"],
        ["mkfs.xfs", "-q"],
        ["mkswap"],
        ["sfdisk", "--quiet"],
    ],
    ids=["ext4", "xfs", "swap", "gpt"],
)
@pytest.mark.parametrize("may_format", [True, False])
def test_what_is_there_is_never_formatted(
    guest: SshGuest, site: InstanceDouble, disks: Disks, make: list[str], may_format: bool
) -> None:
    serial = disks.plug()
    argv = [*make, str(disks.device(serial))]
    subprocess.run(argv, input=b"label: gpt\n", capture_output=True, check=True)
    before = disks.carried(serial)
    share = wanted(site, serial, may_format=may_format)
    if before.get("TYPE") in ("ext4", "xfs") and not may_format:
        guest.apply_share(share, fence=1)  # a clone of some other share
        assert disks.carried(serial)["UUID"] == share.fsid
        return
    with pytest.raises(DeviceNotBlank):
        guest.apply_share(share, fence=1)
    assert disks.carried(serial) == before


def test_a_blank_disk_is_not_formatted_at_a_repair(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    with pytest.raises(DeviceNotBlank, match="holds no file system"):
        guest.apply_share(wanted(site, disks.plug(), may_format=False), fence=1)


@KINDS
def test_an_interrupted_formatting_is_done_again(
    guest: SshGuest, site: InstanceDouble, disks: Disks, kind: str
) -> None:
    share = wanted(site, disks.plug(), file_system=kind)
    uuid = ["-U", share.fsid] if kind == "ext4" else ["-m", f"uuid={share.fsid}"]
    argv = [f"mkfs.{kind}", "-q", "-L", "ATOLL-NEW", *uuid, str(disks.device(share.serial))]
    subprocess.run(argv, check=True, capture_output=True)
    with pytest.raises(DeviceNotBlank, match="never finished"):
        guest.apply_share(replace(share, may_format=False), fence=1)
    assert guest.apply_share(share, fence=1).formatted
    assert "LABEL" not in disks.carried(share.serial)


@KINDS
def test_killing_the_agent_at_any_moment_of_a_creation_leaves_nothing_stuck(
    site: InstanceDouble, disks: Disks, kind: str
) -> None:
    share = wanted(site, disks.plug(), file_system=kind)
    for pause in (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3):
        guest = site.open()
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(guest.apply_share, share, fence=1)
            time.sleep(pause)
            os.kill(guest._ssh.process.pid, signal.SIGKILL)
            call.exception()
        guest.close()
    guest = site.open()
    guest.apply_share(share, fence=1)
    assert Path(share.path).is_mount()
    assert "LABEL" not in disks.carried(share.serial)
    assert Path(share.path).stat().st_mode & 0o7777 == 0o1777
    guest.close()


def test_a_disk_that_is_plugged_in_late_is_waited_for(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    serial = disks.plug()
    (entry,) = (site.root / "sys/block").iterdir()
    (entry / "serial").rename(site.root / "serial")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(guest.apply_share, wanted(site, serial), fence=1)
        time.sleep(0.5)
        (site.root / "serial").rename(entry / "serial")
        assert call.result().formatted


def test_another_disk_is_never_taken(guest: SshGuest, site: InstanceDouble, disks: Disks) -> None:
    disks.plug()
    share = wanted(site, "11111111-2222-3333-4444-555555555555")
    with pytest.raises(GuestError, match="No disk here has the serial"):
        guest.apply_share(share, fence=1, deadline=2)


def test_two_disks_with_one_serial_are_refused(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    serial, other = disks.plug(), disks.plug()
    entry = site.root / "sys/block" / disks.device(other).name / "serial"
    entry.write_text(serial)
    with pytest.raises(GuestError, match="Several disks"):
        guest.apply_share(wanted(site, serial), fence=1)


def test_nothing_is_mounted_over_files(guest: SshGuest, site: InstanceDouble, disks: Disks) -> None:
    share = wanted(site, disks.plug())
    Path(share.path).mkdir(parents=True)
    (Path(share.path) / "precious").touch()
    with pytest.raises(GuestError, match="is not empty"):
        guest.apply_share(share, fence=1)


def test_an_older_operation_is_refused(guest: SshGuest, site: InstanceDouble, disks: Disks) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=5)
    guest.apply_share(share, fence=5)
    with pytest.raises(StaleFence):
        guest.apply_share(replace(share, rules=()), fence=4)
    assert guest.health().shares[0].fence == 5
    guest.remove_share(share.share_id, share.path, fence=6)
    with pytest.raises(StaleFence):  # also of a share that is gone
        guest.apply_share(share, fence=5)
    assert guest.health().shares == ()


def test_removing_is_complete_and_may_be_repeated(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    guest.remove_share(share.share_id, share.path, fence=1)  # never was there
    guest.apply_share(share, fence=1)
    for _ in range(2):
        guest.remove_share(share.share_id, share.path, fence=2)
    assert not Path(share.path).exists()
    assert site.unit(share) == ""
    left = [path.name for path in (site.root / "etc").rglob("*") if not path.is_dir()]
    assert set(left) == {"atoll-shares.target", "nfs-server-generator"}
    assert (site.root / "var/lib/nfs/etab").read_text() == ""


@pytest.mark.parametrize("verb", ["apply_share", "health"])
def test_a_mount_unit_of_an_older_agent_is_replaced(
    guest: SshGuest, site: InstanceDouble, disks: Disks, verb: str
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    service = site.unit(share)
    (site.units / f"atoll-share-{share.share_id}.service").unlink()
    unit = mounts.unit_name(share.path, ".mount")
    (site.units / "atoll-shares.target.wants" / unit).symlink_to(f"../{unit}")
    (site.units / unit).write_text("[Mount]\n")
    for _ in range(2):
        if verb == "health":
            guest.health()
        else:
            guest.apply_share(share, fence=1)
        assert not list(site.units.rglob("*.mount"))
        assert site.unit(share) == service
        assert site.lines("calls.log").count("systemctl daemon-reload") == 1
    guest.remove_share(share.share_id, share.path, fence=3)


def test_a_withheld_share_lets_nobody_in(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    guest.apply_share(replace(share, exported=False), fence=2)
    assert (site.root / "var/lib/nfs/etab").read_text() == ""
    assert Path(share.path).is_mount()
    (served,) = guest.health().shares
    assert not served.exported


def test_an_export_that_was_lost_is_noticed_and_restored(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    (site.root / "var/lib/nfs/etab").write_text("")
    (served,) = guest.health().shares
    assert not served.exported
    guest.apply_share(share, fence=1)
    (served,) = guest.health().shares
    assert served.exported


def test_bad_rules_do_not_hurt_good_ones(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    bad = ExportRule("ip", "$(reboot)", "rw"), ExportRule("user", "anna", "rw")
    share = wanted(site, disks.plug(), rules=(*bad, *rules("10.0.0.1")))
    assert set(guest.apply_share(share, fence=1).rejected_rules) == {"$(reboot)", "anna"}
    (served,) = guest.health().shares
    assert served.rules_digest == digest(rules("10.0.0.1"), "root_squash")


@pytest.mark.parametrize(
    "change",
    [
        {"share_id": "../../etc/passwd"},
        {"path": "/shares/../etc/x"},
        {"path": "/shares"},
        {"serial": "*"},
        {"fsid": "1; reboot"},
        {"file_system": "btrfs"},
        {"name": "homes", "protocol": "CIFS"},
        {"name": "x]\n[y", "protocol": "CIFS"},
    ],
)
def test_malformed_shares_are_refused(
    guest: SshGuest, site: InstanceDouble, change: dict[str, str]
) -> None:
    share = replace(wanted(site, "11111111-2222-3333-4444-555555555555"), **change)  # type: ignore[arg-type]
    with pytest.raises(GuestError, match=r"malformed|can't be a share's name"):
        guest.apply_share(share, fence=1)


def test_a_cifs_share_has_one_section(guest: SshGuest, site: InstanceDouble, disks: Disks) -> None:
    share = wanted(site, disks.plug(), protocol="CIFS", rules=rules("10.0.0.0/8"))
    guest.apply_share(share, fence=1)
    assert "systemctl start smbd.service" in site.lines("calls.log")
    (served,) = guest.health().shares
    assert served.exported
    assert served.rules_digest == digest(rules("10.0.0.0/8"), "root_squash")
    applied = guest.apply_share(replace(share, rules=rules("10.0.0.1", level="ro")), fence=1)
    assert "no read-only access by address" in applied.rejected_rules["10.0.0.1"]
    assert guest.health().shares[0].rules_digest == digest((), "root_squash")
    guest.remove_share(share.share_id, share.path, fence=2)
    assert f"smbcontrol smbd close-share {share.share_id}" in site.lines("calls.log")
    assert (site.root / "var/lib/samba/registry.tdb").read_text() == ""


def test_a_cifs_share_counts_as_exported_only_while_samba_runs(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug(), protocol="CIFS", rules=rules("10.0.0.0/8"))
    (site.root / "systemctl.fails").touch()
    for _ in range(2):  # the registry has the share from the first time on
        with pytest.raises(GuestError, match=r"systemctl start smbd\.service"):
            guest.apply_share(share, fence=1)
    assert not guest.health().shares[0].exported
    (site.root / "systemctl.fails").unlink()
    guest.apply_share(share, fence=1)
    assert guest.health().shares[0].exported


@pytest.mark.parametrize("verb", ["apply", "remove"])
def test_sessions_end_although_the_agent_was_interrupted(
    guest: SshGuest, site: InstanceDouble, disks: Disks, verb: str
) -> None:
    share = wanted(site, disks.plug(), protocol="CIFS", rules=rules("10.0.0.0/8"))
    guest.apply_share(share, fence=1)

    def end_sessions(deadline: float) -> None:
        if verb == "apply":
            guest.apply_share(replace(share, rules=()), fence=1, deadline=deadline)
        else:
            guest.remove_share(share.share_id, share.path, fence=1, deadline=deadline)

    (site.root / "smbcontrol.hangs").touch()
    with pytest.raises(GuestError, match="smbcontrol did not finish"):
        end_sessions(3)
    (site.root / "smbcontrol.hangs").unlink()
    end_sessions(60)
    assert site.lines("calls.log").count("smbcontrol smbd reload-config") == 2


def test_two_agents_work_on_a_share_one_after_the_other(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    other = site.open()
    with ThreadPoolExecutor(8) as pool:
        guests = (guest, other) * 4
        applied = list(pool.map(lambda one: one.apply_share(share, fence=1), guests))
    assert [answer.formatted for answer in applied].count(True) == 1
    other.close()


def test_a_share_that_is_being_worked_on_is_left_alone(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    locks = site.root / "run/atoll"
    locks.mkdir(parents=True)
    lock = locks / f"share-{share.share_id}.lock"
    with subprocess.Popen(["flock", lock, "sleep", "30"]) as holder:
        while subprocess.run(["flock", "--nonblock", lock, "true"], check=False).returncode == 0:
            time.sleep(0.02)
        with pytest.raises(GuestBusy):
            guest.apply_share(share, fence=1, deadline=0.5)
        assert guest.health()  # nobody else waits
        holder.kill()


def test_shares_are_applied_side_by_side(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    shares = [wanted(site, disks.plug()) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda share: guest.apply_share(share, fence=1), shares))
    assert all(answer.formatted for answer in applied)
    assert {share.share_id for share in guest.usage()} == {share.share_id for share in shares}


def test_a_share_is_never_mounted_twice(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    for kind in ("ext4", "xfs"):
        share = wanted(site, disks.plug(), file_system=kind)
        guest.apply_share(share, fence=1)
        elsewhere = replace(share, path=f"{site.root}/elsewhere/{share.share_id}")
        with pytest.raises(GuestError, match=f"mounted on {share.path}"):
            guest.apply_share(elsewhere, fence=2)
        guest.apply_share(share, fence=3)
        assert Path("/proc/self/mounts").read_text().count(share.share_id) == 1
        guest.remove_share(share.share_id, elsewhere.path, fence=4)
        assert share.share_id not in Path("/proc/self/mounts").read_text()
