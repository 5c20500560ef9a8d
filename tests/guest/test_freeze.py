"""Freezes, which end by themselves and are told apart; the agent's own process holds them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from atoll.errors import FreezeLost, GuestBusy
from atoll.guest.base import Freeze, WantedShare
from atoll.guest.channel import SshGuest
from harness.wait import wait
from tests.guest.conftest import KINDS, Disks, InstanceDouble, wanted

ONE, TWO = "snapshot/one", "snapshot/two"


@pytest.fixture
def share(guest: SshGuest, site: InstanceDouble, disks: Disks) -> WantedShare:
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    return share


@pytest.fixture
def other(site: InstanceDouble) -> Iterator[SshGuest]:
    """Another channel, with an agent of its own."""
    other = site.open()
    yield other
    other.close()


def write(share: WantedShare, name: str = "later") -> None:
    """Write to a share that isn't frozen any more."""
    subprocess.run(["touch", f"{share.path}/{name}"], check=True, timeout=5)


@KINDS
def test_a_frozen_share_takes_no_writes_until_it_thaws(
    guest: SshGuest, site: InstanceDouble, disks: Disks, kind: str
) -> None:
    share = wanted(site, disks.plug(), file_system=kind)
    guest.apply_share(share, fence=1)
    freeze = Freeze(ONE)
    guest.freeze_share(share.share_id, share.path, freeze, seconds=30)
    with subprocess.Popen(["touch", f"{share.path}/late"]) as writer:
        time.sleep(0.3)
        assert writer.poll() is None
        guest.thaw_share(share.share_id, share.path, freeze)
        assert writer.wait(5) == 0
    with pytest.raises(FreezeLost):
        guest.thaw_share(share.share_id, share.path, freeze)


def test_a_freeze_ends_by_itself_and_its_thaw_says_so(guest: SshGuest, share: WantedShare) -> None:
    freeze = Freeze(ONE)
    guest.freeze_share(share.share_id, share.path, freeze, seconds=0.2)
    write(share)
    with pytest.raises(FreezeLost):
        guest.thaw_share(share.share_id, share.path, freeze)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_freeze_ends_with_its_agent_however_that_goes(
    guest: SshGuest, other: SshGuest, share: WantedShare, how: signal.Signals
) -> None:
    freeze = Freeze(ONE)
    guest.freeze_share(share.share_id, share.path, freeze, seconds=60)
    os.kill(guest._ssh.process.pid, how)
    write(share)
    with pytest.raises(FreezeLost):
        other.thaw_share(share.share_id, share.path, freeze)


def test_another_agent_can_thaw(guest: SshGuest, other: SshGuest, share: WantedShare) -> None:
    freeze = Freeze(ONE)
    guest.freeze_share(share.share_id, share.path, freeze, seconds=60)
    other.thaw_share(share.share_id, share.path, freeze)
    write(share)
    with pytest.raises(FreezeLost):
        guest.thaw_share(share.share_id, share.path, freeze)


def test_nobody_writes_while_one_of_two_snapshots_is_taken(
    guest: SshGuest, other: SshGuest, share: WantedShare
) -> None:
    first, second = Freeze(ONE), Freeze(TWO)
    guest.freeze_share(share.share_id, share.path, first, seconds=60)
    with subprocess.Popen(["touch", f"{share.path}/late"]) as writer:
        for agent in (guest, other):
            with pytest.raises(GuestBusy):
                agent.freeze_share(share.share_id, share.path, second, seconds=60)
            with pytest.raises(FreezeLost):
                agent.thaw_share(share.share_id, share.path, second)
        time.sleep(0.3)
        assert writer.poll() is None
        guest.thaw_share(share.share_id, share.path, first)
        assert writer.wait(5) == 0
    other.freeze_share(share.share_id, share.path, second, seconds=60)
    with pytest.raises(FreezeLost):
        guest.thaw_share(share.share_id, share.path, first)
    other.thaw_share(share.share_id, share.path, second)


@pytest.mark.parametrize(
    "again", [Freeze(ONE), Freeze(TWO, takes_over=True)], ids=["same", "forced"]
)
def test_a_freeze_that_another_agent_takes_over_has_not_held(
    guest: SshGuest, other: SshGuest, share: WantedShare, again: Freeze
) -> None:
    """As when a worker dies with a freeze, and the next one takes the same snapshot again."""
    first = Freeze(ONE)
    guest.freeze_share(share.share_id, share.path, first, seconds=60)
    other.freeze_share(share.share_id, share.path, again, seconds=60)
    with subprocess.Popen(["touch", f"{share.path}/late"]) as writer:
        with pytest.raises(FreezeLost):
            guest.thaw_share(share.share_id, share.path, first)
        time.sleep(0.3)
        assert writer.poll() is None
        other.thaw_share(share.share_id, share.path, again)
        assert writer.wait(5) == 0


def test_the_time_of_an_earlier_freeze_does_not_end_a_later_one(
    guest: SshGuest, share: WantedShare
) -> None:
    first, second = Freeze(ONE), Freeze(ONE)
    guest.freeze_share(share.share_id, share.path, first, seconds=0.5)
    guest.freeze_share(share.share_id, share.path, second, seconds=60)
    time.sleep(0.8)
    guest.thaw_share(share.share_id, share.path, second)


def test_a_holder_that_was_killed_leaves_nothing_frozen_for_good(
    guest: SshGuest, share: WantedShare
) -> None:
    first, second = Freeze(ONE), Freeze(TWO)
    guest.freeze_share(share.share_id, share.path, first, seconds=60)
    agent = guest._ssh.process.pid
    holders = psutil.Process(agent).children()
    assert holders
    for holder in holders:
        holder.kill()
    ended = [psutil.STATUS_ZOMBIE] * len(holders)
    wait("the end of the holders", lambda: [each.status() for each in holders] == ended, 10)
    with pytest.raises(FreezeLost):
        guest.thaw_share(share.share_id, share.path, first)
    write(share)
    guest.freeze_share(share.share_id, share.path, second, seconds=60)
    guest.thaw_share(share.share_id, share.path, second)


def test_a_share_that_goes_takes_its_freeze_along(
    guest: SshGuest, other: SshGuest, share: WantedShare
) -> None:
    freeze = Freeze(ONE)
    guest.freeze_share(share.share_id, share.path, freeze, seconds=60)
    other.remove_share(share.share_id, share.path, fence=2)
    with pytest.raises(FreezeLost):
        guest.thaw_share(share.share_id, share.path, freeze)
    other.apply_share(share, fence=3)
    write(share)
