"""Frozen file systems: as long as they should be, and never longer."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from atoll.errors import FreezeLost
from atoll.guest.channel import SshGuest
from tests.guest.conftest import KINDS, Disks, Site, wanted


@KINDS
def test_a_frozen_share_takes_no_writes_until_it_thaws(
    guest: SshGuest, site: Site, disks: Disks, kind: str
) -> None:
    share = wanted(site, disks.plug(), file_system=kind)
    guest.apply_share(share, fence=1)
    guest.freeze_share(share.share_id, share.path, seconds=30)
    with subprocess.Popen(["touch", f"{share.path}/late"]) as writer:
        time.sleep(0.3)
        assert writer.poll() is None
        guest.thaw_share(share.share_id, share.path)
        assert writer.wait(5) == 0
    guest.thaw_share(share.share_id, share.path)  # not frozen is fine


def test_a_freeze_ends_by_itself_and_its_thaw_says_so(
    guest: SshGuest, site: Site, disks: Disks
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    guest.freeze_share(share.share_id, share.path, seconds=0.2)
    subprocess.run(["touch", f"{share.path}/later"], check=True, timeout=5)
    with pytest.raises(FreezeLost):
        guest.thaw_share(share.share_id, share.path)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_freeze_ends_with_its_agent_however_that_goes(
    guest: SshGuest, site: Site, disks: Disks, how: signal.Signals
) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    guest.freeze_share(share.share_id, share.path, seconds=60)
    os.kill(guest._ssh.process.pid, how)
    subprocess.run(["touch", f"{share.path}/later"], check=True, timeout=5)
    other = site.open()
    with pytest.raises(FreezeLost):
        other.thaw_share(share.share_id, share.path)
    other.close()


def test_another_agent_can_thaw(guest: SshGuest, site: Site, disks: Disks) -> None:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    guest.freeze_share(share.share_id, share.path, seconds=60)
    other = site.open()
    other.thaw_share(share.share_id, share.path)
    other.close()
    subprocess.run(["touch", f"{share.path}/later"], check=True, timeout=5)
