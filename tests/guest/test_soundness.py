"""File systems that meet errors, on devices and file systems of this machine."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from atoll.guest.base import WantedShare
from atoll.guest.channel import SshGuest
from atoll.model.states import FileSystemState
from tests.guest.conftest import KINDS, Disks, InstanceDouble, wanted


def found(guest: SshGuest, share: WantedShare) -> FileSystemState:
    [served] = guest.health().shares
    assert served.share_id == share.share_id
    return served.file_system_state


@KINDS
def test_a_file_system_without_errors_is_sound(
    guest: SshGuest, site: InstanceDouble, disks: Disks, kind: str
) -> None:
    share = wanted(site, disks.plug(), file_system=kind)
    guest.apply_share(share, fence=1)
    assert found(guest, share) == FileSystemState.SOUND


def test_ext4_goes_read_only_and_is_repaired_before_the_next_mount(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    kept = Path(share.path) / "kept"
    kept.write_text("kept")
    subprocess.run(["sync", "--file-system", share.path], check=True)
    kernel = Path("/sys/fs/ext4") / disks.device(share.serial).name
    (kernel / "trigger_fs_error").write_text("1")
    assert found(guest, share) == FileSystemState.READ_ONLY
    assert guest.health().shares[0].exported
    with pytest.raises(OSError, match="Read-only"):
        kept.write_text("lost")
    assert kept.read_text() == "kept"
    subprocess.run(["umount", share.path], check=True)
    guest.apply_share(share, fence=1)
    assert found(guest, share) == FileSystemState.SOUND
    assert kept.read_text() == "kept"


def test_errors_that_ext4_has_counted_are_reported(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    counted = site.root / "sys/fs/ext4" / disks.device(share.serial).name / "errors_count"
    counted.parent.mkdir(parents=True)
    counted.write_text("2\n")
    assert found(guest, share) == FileSystemState.ERRORS


def test_xfs_shuts_down(guest: SshGuest, site: InstanceDouble, disks: Disks) -> None:
    share = wanted(site, disks.plug(), file_system="xfs")
    guest.apply_share(share, fence=1)
    subprocess.run(["xfs_io", "-x", "-c", "shutdown", share.path], check=True)
    assert found(guest, share) == FileSystemState.SHUT_DOWN
    with pytest.raises(OSError, match="Input/output") as caught:
        list(Path(share.path).iterdir())
    assert caught.value.errno == errno.EIO
