"""Copies of disks, and disks that grow."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.errors import GuestBusy
from atoll.guest.base import Freeze, WantedShare
from atoll.guest.channel import SshGuest
from tests.guest.conftest import KINDS, MIB, Disks, InstanceDouble, wanted


def may_grow(kind: str) -> None:
    """Skip where this machine's root may not grow ext4 online (in some sandboxes)."""
    status = Path("/proc/self/status").read_text()
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    if kind == "ext4" and not capabilities >> 24 & 1:
        pytest.skip("needs CAP_SYS_RESOURCE")


def clone_of(
    site: InstanceDouble, disks: Disks, share: WantedShare, size_mib: int = 512
) -> WantedShare:
    """A share on a copy of another's disk as it is at this moment."""
    serial = disks.plug(disks.image(share.serial))
    if size_mib != 512:
        disks.grow(serial, size_mib)
    return wanted(site, serial, may_format=False, file_system=share.file_system)


@KINDS
def test_a_clone_is_another_file_system_and_fills_its_larger_disk(
    guest: SshGuest, site: InstanceDouble, disks: Disks, kind: str
) -> None:
    may_grow(kind)
    parent = wanted(site, disks.plug(), file_system=kind)
    guest.apply_share(parent, fence=1)
    (Path(parent.path) / "data").write_text("copied")
    freeze = Freeze("snapshot/one")
    guest.freeze_share(parent.share_id, parent.path, freeze, seconds=30)
    clone = clone_of(site, disks, parent, size_mib=1024)
    guest.thaw_share(parent.share_id, parent.path, freeze)
    applied = guest.apply_share(clone, fence=1)
    assert not applied.formatted
    assert applied.size_bytes > 900 * MIB
    assert (Path(clone.path) / "data").read_text() == "copied"
    assert Path(parent.path).is_mount()  # side by side
    assert disks.carried(clone.serial)["UUID"] == clone.fsid
    assert disks.carried(parent.serial)["UUID"] == parent.fsid
    assert not guest.apply_share(clone, fence=1).formatted


@KINDS
def test_a_copy_of_a_running_file_system_is_recovered(
    guest: SshGuest, site: InstanceDouble, disks: Disks, kind: str
) -> None:
    parent = wanted(site, disks.plug(), file_system=kind)
    guest.apply_share(parent, fence=1)
    for number in range(50):
        with (Path(parent.path) / f"{number}").open("w") as file:
            file.write("x" * 5000)
            os.fsync(file.fileno())
    clone = clone_of(site, disks, parent)  # its journal was never replayed
    guest.apply_share(clone, fence=1)
    names = {path.name for path in Path(clone.path).iterdir()}
    assert names == {str(number) for number in range(50)}


@KINDS
def test_a_grown_disk_is_used_while_files_are_open(
    guest: SshGuest, site: InstanceDouble, disks: Disks, kind: str
) -> None:
    may_grow(kind)
    share = wanted(site, disks.plug(), file_system=kind)
    before = guest.apply_share(share, fence=1)
    with (Path(share.path) / "data").open("w") as file:
        file.write("before ")
        disks.grow(share.serial, 1024)
        after = guest.apply_share(replace(share, rules=None), fence=2)
        file.write("after")
    assert after.size_bytes > before.size_bytes + 400 * MIB
    assert (Path(share.path) / "data").read_text() == "before after"
    assert site.lines("exportfs.log") == ["-r"]  # rules None leaves the exports alone


def test_a_disk_that_is_told_late_to_have_grown_is_waited_for(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug(), file_system="xfs")
    guest.apply_share(share, fence=1)
    larger = replace(share, rules=None, least_gib=1)
    with pytest.raises(GuestBusy, match="yet"):
        guest.apply_share(larger, fence=2, deadline=2)
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(guest.apply_share, larger, fence=3)
        time.sleep(0.5)
        assert not applied.done()
        disks.grow(share.serial, 1024)
        assert applied.result().size_bytes > 900 * MIB
