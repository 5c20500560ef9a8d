"""A client writes and holds locks by each version of NFS while bad things happen.

``make test-chaos`` runs many rounds, chosen at random, and keeps their results.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client_vm import ClientVm
from harness.wait import wait
from tests.system.chaos import Chaos, Round, as_json
from tests.system.deployment import LibvirtDeployment

pytestmark = [
    pytest.mark.vm,
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]

ROUNDS = int(os.environ.get("ATOLL_CHAOS_ROUNDS", "0"))
WARM = int(os.environ.get("ATOLL_CHAOS_WARM", "0"))
"""How many instances are kept warm in the many rounds."""
CHOSEN = os.environ.get("ATOLL_CHAOS_EVENTS", "")
"""The events of the many rounds, separated by commas; empty for all."""
OTHERS = int(os.environ.get("ATOLL_CHAOS_OTHERS", "0"))
"""How many more shares the instance serves."""
BY_SMB = bool(os.environ.get("ATOLL_CHAOS_SMB"))
"""Whether a client writes by SMB, too. Samba starts slowly where instances are emulated."""
RESULTS = Path(os.environ.get("ATOLL_CHAOS_RESULTS", "/dev/null"))


@pytest.fixture(scope="module")
def chaos(deployment: LibvirtDeployment, client: ClientVm) -> Iterator[Chaos]:
    deployment.restart(replace_dead_after=8)
    made = Chaos(deployment, client, others=OTHERS, by_smb=BY_SMB)
    made.prepare()
    yield made
    deployment.restart()


def check(chaos: Chaos, seen: Round) -> None:
    is_harmful = seen.event in chaos.events.harmful
    assert not seen.faults, seen
    assert seen.is_rebooted == is_harmful, seen
    if seen.event in ("lose", "upgrade") or (seen.has_stand_in and is_harmful):
        assert seen.is_replaced, seen


def keep_warm(deployment: LibvirtDeployment, warm: int) -> None:
    deployment.restart(replace_dead_after=8, warm=warm)
    wait("warm instances", lambda: len(deployment.warm_servers()) == warm)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("event", ["lose", pytest.param("pause", marks=pytest.mark.long)])
def test_a_client_carries_on(chaos: Chaos, event: str) -> None:
    check(chaos, chaos.round(event))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_client_carries_on_with_a_warm_instance(
    chaos: Chaos, deployment: LibvirtDeployment
) -> None:
    keep_warm(deployment, 1)
    check(chaos, chaos.round("freeze"))


@pytest.mark.long
@pytest.mark.skipif(not ROUNDS, reason="ATOLL_CHAOS_ROUNDS says how many")
@pytest.mark.timeout(300 * max(1, ROUNDS))
def test_many_rounds(chaos: Chaos, deployment: LibvirtDeployment) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    choose = random.Random(seed)
    rounds = []
    events = CHOSEN.split(",") if CHOSEN else sorted(chaos.events.harmless | chaos.events.harmful)
    keep_warm(deployment, WARM)
    for number in range(ROUNDS):
        if number % len(events) == 0:  # each comes as often as the others
            choose.shuffle(events)
        wait("warm instances", lambda: len(deployment.warm_servers()) == WARM)
        rounds.append(chaos.round(events[number % len(events)]))
        with RESULTS.open("a") as file:
            file.write(as_json(rounds[-1:]))
    bad = [each for each in rounds if each.faults]
    assert not bad, (seed, bad)
    for each in rounds:
        check(chaos, each)
