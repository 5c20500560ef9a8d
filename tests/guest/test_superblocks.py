"""A share that was served before is mounted without a check, unless its file system has errors."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from atoll.errors import GuestError
from atoll.guest.agent import superblocks
from atoll.guest.base import WantedShare
from atoll.guest.channel import SshGuest
from tests.guest.conftest import KINDS, Disks, InstanceDouble, wanted

pytestmark = pytest.mark.root


def debugfs(device: Path, request: str) -> None:
    argv = ["debugfs", "-w", "-R", request, str(device)]
    subprocess.run(argv, check=True, capture_output=True)


@pytest.fixture
def share(guest: SshGuest, site: InstanceDouble, disks: Disks) -> WantedShare:
    """A share with data that is not served at the moment."""
    made = wanted(site, disks.plug())
    guest.apply_share(made, fence=1)
    (Path(made.path) / "data").write_text("kept")
    guest.remove_share(made.share_id, made.path, fence=2)
    return made


@KINDS
def test_what_a_superblock_says_is_what_libblkid_finds(disks: Disks, kind: str) -> None:
    serial = disks.plug()
    device = disks.device(serial)
    label = ["-L", "a, b"]
    subprocess.run([f"mkfs.{kind}", "-q", *label, str(device)], check=True, capture_output=True)
    found, carried = superblocks.read(str(device)), disks.carried(serial)
    assert found is not None
    assert (found.kind, found.uuid, found.label) == (kind, carried["UUID"], "a, b")
    assert found.size_bytes == disks.image(serial).stat().st_size
    assert not found.has_errors


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (["true"], None),
        (["mkswap"], None),
        (["mkfs.ext4", "-q", "-O", "^has_journal"], "ext2"),
        (["mkfs.ext3", "-q"], "ext2"),
    ],
)
def test_other_devices_are_not_taken_for_ours(
    disks: Disks, make: list[str], kind: str | None
) -> None:
    device = disks.device(disks.plug())
    subprocess.run([*make, str(device)], check=True, capture_output=True)
    found = superblocks.read(str(device))
    assert (found and found.kind) == kind


def test_a_device_that_can_not_be_read_has_none() -> None:
    assert superblocks.read("/proc/self/mem") is None


def test_a_sound_share_is_mounted_without_a_check(guest: SshGuest, share: WantedShare) -> None:
    assert "probe" not in guest.apply_share(share, fence=3).steps
    assert (Path(share.path) / "data").read_text() == "kept"


@pytest.mark.parametrize("state", ["2", "3"])
def test_a_share_with_errors_is_checked(
    guest: SshGuest, disks: Disks, share: WantedShare, state: str
) -> None:
    debugfs(disks.device(share.serial), f"set_super_value state {state}")
    assert "probe" in guest.apply_share(share, fence=3).steps
    assert (Path(share.path) / "data").read_text() == "kept"
    found = superblocks.read(str(disks.device(share.serial)))
    assert found is not None
    assert not found.has_errors


def test_an_error_that_only_the_journal_knows_is_found(
    guest: SshGuest, disks: Disks, share: WantedShare
) -> None:
    device = disks.device(share.serial)
    argv = ["debugfs", "-R", "blocks <8>", str(device)]
    blocks = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    with device.open("r+b") as file:
        file.seek(int(blocks.split()[0]) * 4096 + 0x20)  # s_errno of the journal's superblock
        file.write((5).to_bytes(4, "big"))
    assert "probe" in guest.apply_share(share, fence=3).steps
    assert (Path(share.path) / "data").read_text() == "kept"


def test_a_superblock_that_the_kernel_refuses_is_told_of(
    guest: SshGuest, disks: Disks, share: WantedShare
) -> None:
    with disks.device(share.serial).open("r+b") as file:
        file.seek(1024 + 0x30)  # the time of the last write, which the checksum covers
        file.write(b"\xff\xff")
    with pytest.raises(GuestError, match="needs e2fsck by hand"):
        guest.apply_share(share, fence=3)
    assert not Path(share.path).is_mount()
