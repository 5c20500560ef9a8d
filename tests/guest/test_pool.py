"""The pool: one channel an instance, and no waiting for one that is known not to answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import pytest

from atoll.errors import GuestError, GuestUnreachable, LoginKeyUnusable
from atoll.guest.base import (
    Admitted,
    AppliedShare,
    Freeze,
    Guest,
    Health,
    ShareUsage,
    WantedShare,
    WantedState,
)
from atoll.guest.channel import SshGuest
from atoll.guest.pool import GuestPool
from harness.wait import wait
from tests.guest.conftest import InstanceDouble

HEALTH = Health("boot", nfs_running=True, smb_running=False, uptime_seconds=1)


class Instance:
    """A service instance that can be made to behave badly; implements ``Guest``."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.answers = True
        self.boots = threading.Event()
        self.boots.set()

    def connect(self, seconds: float) -> Guest:
        self.opened += 1
        self.boots.wait(seconds)
        self._reach()
        return self

    def _reach(self) -> None:
        if not self.answers:
            raise GuestUnreachable("nobody there")

    def apply_share(self, wanted: WantedShare, *, fence: int, deadline: float = 60) -> AppliedShare:
        raise GuestError("full")

    def remove_share(self, share_id: str, path: str, *, fence: int, deadline: float = 60) -> None:
        self._reach()

    def freeze_share(self, share_id: str, path: str, freeze: Freeze, *, seconds: float) -> None:
        self._reach()

    def thaw_share(self, share_id: str, path: str, freeze: Freeze) -> None:
        self._reach()

    def ping(self) -> bool:
        return self.answers

    def keep_state(self, wanted: WantedState, *, deadline: float = 60) -> None:
        self._reach()

    def start_nfs(self, *, with_state: bool = True, deadline: float = 60) -> None:
        self._reach()

    def notify_clients(self, *, deadline: float = 30) -> None:
        self._reach()

    def usage(self, *, deadline: float = 10) -> tuple[ShareUsage, ...]:
        self._reach()
        return ()

    def health(self, *, deadline: float = 10) -> Health:
        self._reach()
        return HEALTH

    def admitted(self, share_id: str, *, deadline: float = 10) -> Admitted:
        self._reach()
        return Admitted(known=False)

    def close(self) -> None:
        self.closed += 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(clock: Clock) -> GuestPool:
    return GuestPool(clock)


def settle(pool: GuestPool, condition: Callable[[], bool]) -> None:
    wait("the pool to settle", condition, 5)


def test_callers_share_one_channel(pool: GuestPool) -> None:
    instance = Instance()
    instance.boots.clear()
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(pool.get, "a", instance.connect, 5) for _ in range(8)]
        time.sleep(0.1)
        instance.boots.set()
        assert [call.result().health() for call in calls] == [HEALTH] * 8
    assert instance.opened == 1
    pool.close()
    assert instance.closed == 1


def test_a_failed_instance_is_refused_at_once_and_tried_again_later(
    pool: GuestPool, clock: Clock
) -> None:
    instance = Instance()
    instance.answers = False
    for attempt in range(1, 5):
        with pytest.raises(GuestUnreachable, match="nobody there"):
            pool.get("a", instance.connect, 5)
        for _ in range(3):
            with pytest.raises(GuestUnreachable, match="nobody there"):
                pool.get("a", instance.connect, 5)
        assert instance.opened == attempt
        clock.now += 1.25 * 2 ** (attempt - 1)
    instance.answers = True
    assert pool.get("a", instance.connect, 5).health() == HEALTH


def test_an_impatient_caller_leaves_and_the_attempt_goes_on(pool: GuestPool) -> None:
    instance = Instance()
    instance.boots.clear()
    with pytest.raises(GuestUnreachable, match=r"has not answered in 0\.1 s"):
        pool.get("a", instance.connect, 0.1)
    instance.boots.set()
    assert pool.get("a", instance.connect, 5).health() == HEALTH
    assert instance.opened == 1


def test_others_do_not_wait_for_a_second_attempt(pool: GuestPool, clock: Clock) -> None:
    instance = Instance()
    instance.answers = False
    with pytest.raises(GuestUnreachable):
        pool.get("a", instance.connect, 5)
    clock.now += 10
    instance.boots.clear()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(pool.get, "a", instance.connect, 5)
        settle(pool, lambda: instance.opened == 2)
        start = time.monotonic()
        with pytest.raises(GuestUnreachable):
            pool.get("a", instance.connect, 5)
        assert time.monotonic() - start < 0.5
        instance.boots.set()
        with pytest.raises(GuestUnreachable):
            first.result()


def test_a_pause_is_ended_by_someone_who_has_to_know(pool: GuestPool) -> None:
    instance = Instance()
    instance.answers = False
    with pytest.raises(GuestUnreachable):
        pool.get("a", instance.connect, 5)
    instance.answers = True
    with pytest.raises(GuestUnreachable):
        pool.get("a", instance.connect, 5)
    pool.end_pause("a")
    assert pool.get("a", instance.connect, 5).health() == HEALTH
    pool.end_pause("unknown")


def test_a_key_that_can_not_be_used_makes_no_pause(pool: GuestPool) -> None:
    def fail(seconds: float) -> NoReturn:
        raise LoginKeyUnusable

    for _ in range(2):
        with pytest.raises(LoginKeyUnusable):
            pool.get("a", fail, 5)
    assert pool.get("a", Instance().connect, 5).health() == HEALTH


def test_a_silent_channel_is_replaced(pool: GuestPool) -> None:
    instance = Instance()
    guest = pool.get("a", instance.connect, 5)
    instance.answers = False
    with pytest.raises(GuestUnreachable):
        guest.usage()
    assert instance.closed == 1
    instance.answers = True
    assert pool.get("a", instance.connect, 5).health() == HEALTH
    assert instance.opened == 2


def test_a_refused_verb_does_not_cost_the_channel(pool: GuestPool) -> None:
    instance = Instance()
    guest = pool.get("a", instance.connect, 5)
    with pytest.raises(GuestError, match="full"):
        guest.apply_share(None, fence=1)  # type: ignore[arg-type]
    assert instance.closed == 0


def test_a_channel_is_handed_over(pool: GuestPool) -> None:
    instance, other = Instance(), Instance()
    pool.get("warm", instance.connect, 5)
    pool.hand_over("warm", to="lost")
    assert pool.get("lost", other.connect, 5).health() == HEALTH
    assert (instance.opened, other.opened) == (1, 0)
    pool.get("warm", other.connect, 5)
    assert other.opened == 1
    pool.hand_over("nobody", to="lost")
    assert instance.closed == 1
    pool.get("lost", other.connect, 5)
    assert other.opened == 2
    pool.close()
    assert other.closed == 2


def test_a_dropped_instance_is_forgotten_even_while_it_connects(pool: GuestPool) -> None:
    instance = Instance()
    instance.boots.clear()
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(pool.get, "a", instance.connect, 5)
        settle(pool, lambda: instance.opened == 1)
        pool.drop("a")
        instance.boots.set()
        with pytest.raises(GuestUnreachable, match="being replaced"):
            call.result()
    assert instance.closed == 1


def test_an_ended_channel_is_noticed_before_its_use(pool: GuestPool, site: InstanceDouble) -> None:
    opened: list[SshGuest] = []

    def connect(seconds: float) -> Guest:
        opened.append(site.open(deadline=seconds))
        return opened[-1]

    pool.get("a", connect, 20)
    opened[0]._ssh.process.kill()
    settle(pool, lambda: not opened[0].alive)
    assert pool.get("a", connect, 20).health().boot_id
    assert len(opened) == 2
    pool.close()


def test_a_hung_instance_delays_no_other(pool: GuestPool) -> None:
    hung, well = Instance(), Instance()
    hung.boots.clear()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.get, "hung", hung.connect, 2)
        start = time.monotonic()
        assert pool.get("well", well.connect, 5).health() == HEALTH
        assert time.monotonic() - start < 0.5
        hung.boots.set()
        assert waiting.result()
