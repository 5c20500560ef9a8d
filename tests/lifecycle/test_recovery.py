"""What is done about a share server, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.cloud.base import Fencing, FencingState, Instance, InstanceStatus
from atoll.driver.answer import Answer
from atoll.lifecycle.recovery import Cure, Diagnosis

PATIENCE, BOOT = 60.0, 60.0


def instance(status: InstanceStatus, fault: str = "") -> Instance:
    return Instance("i-1", "share_server/1", "atoll-1", status, fault)


ACTIVE, PAUSED = instance(InstanceStatus.ACTIVE), instance(InstanceStatus.ACTIVE, "no room")
STOPPED, BUILDING = instance(InstanceStatus.STOPPED), instance(InstanceStatus.BUILDING)
FAILED = instance(InstanceStatus.ERROR, "no host")


def in_doubt(**more: Any) -> Diagnosis:
    """A silent instance whose host the cloud does not reach."""
    fencing = Fencing(FencingState.DOUBTFUL, "no answer")
    return Diagnosis(Answer.SILENT, **{"instance": ACTIVE, "fencing": fencing, **more})


def ended(**more: Any) -> Diagnosis:
    """A silent instance that is proved, or confirmed, not to run."""
    fencing = Fencing(FencingState.PROVED)
    return Diagnosis(Answer.SILENT, **{"instance": ACTIVE, "fencing": fencing, **more})


def together(silent: int, active: int, **more: Any) -> Diagnosis:
    """A silent instance, with others that fell silent in the same minutes."""
    found = {"silent_for": 61.0, "instance": ACTIVE, **more}
    return Diagnosis(Answer.SILENT, silent_together=silent, active=active, **found)


def reset(**more: Any) -> Diagnosis:
    """A silent instance that has been reset."""
    found = {"instance": ACTIVE, "reset_for": more.get("silent_for"), **more}
    return Diagnosis(Answer.SILENT, was_silent=True, **found)


@pytest.mark.parametrize(
    ("found", "cure"),
    [
        (Diagnosis(Answer.HEALTHY), Cure.NOTHING),
        (Diagnosis(Answer.HEALTHY, was_silent=True), Cure.SERVE_AGAIN),
        (Diagnosis(Answer.NOT_SERVING), Cure.SERVE_AGAIN),
        (Diagnosis(Answer.NOT_SERVING, was_silent=True, renewal_wanted=True), Cure.SERVE_AGAIN),
        (Diagnosis(Answer.HEALTHY, renewal_wanted=True), Cure.RENEW),
        (Diagnosis(Answer.HEALTHY, was_silent=True, renewal_wanted=True), Cure.RENEW),
        # Gone, or failed: there is nothing to wait for.
        (Diagnosis(Answer.SILENT, instance=None), Cure.REPLACE),
        (Diagnosis(Answer.SILENT, instance=FAILED), Cure.REPLACE),
        # Switched off: it is started, and replaced if that does not help.
        (Diagnosis(Answer.SILENT, instance=STOPPED), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, silent_for=10_000, instance=STOPPED), Cure.REBOOT),
        (reset(silent_for=60, instance=STOPPED), Cure.REBOOT),
        (reset(silent_for=61, instance=STOPPED), Cure.REPLACE),
        # Silent: it may be busy, or the way to it may be interrupted.
        (Diagnosis(Answer.SILENT, instance=ACTIVE), Cure.WAIT),
        (Diagnosis(Answer.SILENT, silent_for=60, instance=ACTIVE), Cure.WAIT),
        (Diagnosis(Answer.SILENT, silent_for=61, instance=ACTIVE), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, silent_for=10_000, instance=ACTIVE), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, was_silent=True, silent_for=61, instance=ACTIVE), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, silent_for=61, instance=BUILDING), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, renewal_wanted=True, instance=ACTIVE), Cure.WAIT),
        # The instance was reset, and may still be booting.
        (reset(silent_for=0), Cure.WAIT),
        (reset(silent_for=60), Cure.WAIT),
        (reset(silent_for=61), Cure.REPLACE),
        # The agent answered, or Atoll could not ask it, so the instance is left alone.
        (Diagnosis(Answer.ERROR), Cure.WAIT),
        (Diagnosis(Answer.ERROR, was_silent=True, silent_for=10_000, instance=ACTIVE), Cure.WAIT),
        (Diagnosis(Answer.UNASKED), Cure.WAIT),
        (Diagnosis(Answer.UNASKED, silent_for=10_000, instance=None), Cure.WAIT),
        # Many fell silent together: the cause is most likely on Atoll's side.
        (together(2, 2), Cure.HOLD),
        (together(2, 7), Cure.HOLD),
        (together(2, 8), Cure.REBOOT),
        (together(1, 1), Cure.REBOOT),
        (together(1, 3), Cure.REBOOT),
        (together(5, 5), Cure.HOLD),
        (together(5, 5, reset_for=61), Cure.HOLD),
        (together(5, 5, reset_for=60, silent_for=0), Cure.WAIT),
        (together(250, 1000), Cure.REBOOT),
        (together(251, 1000), Cure.HOLD),
        # The agent is silent, but its NFS server answers, so that clients are served.
        (Diagnosis(Answer.SILENT, silent_for=600, instance=ACTIVE, is_served=True), Cure.WAIT),
        (Diagnosis(Answer.SILENT, silent_for=601, instance=ACTIVE, is_served=True), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, silent_for=600, instance=FAILED, is_served=True), Cure.WAIT),
        (Diagnosis(Answer.SILENT, silent_for=601, instance=FAILED, is_served=True), Cure.REPLACE),
        # Clients reach it, but Atoll does not: the network between is at fault.
        (Diagnosis(Answer.SILENT, silent_for=10_000, instance=ACTIVE, is_cut_off=True), Cure.WAIT),
        (Diagnosis(Answer.SILENT, silent_for=10_000, instance=FAILED, is_cut_off=True), Cure.WAIT),
        (Diagnosis(Answer.SILENT, instance=STOPPED, is_cut_off=True), Cure.REBOOT),
        (reset(silent_for=10_000, is_cut_off=True), Cure.WAIT),
        (together(5, 5, is_cut_off=True), Cure.HOLD),
        (in_doubt(silent_for=61, is_cut_off=True), Cure.ASK_OPERATOR),
        # An operator knows better.
        (
            Diagnosis(Answer.SILENT, instance=ACTIVE, is_cut_off=True, is_confirmed=True),
            Cure.REBOOT,
        ),
        (together(5, 5, is_confirmed=True, silent_for=0), Cure.REBOOT),
        (together(5, 5, is_confirmed=True, reset_for=60, silent_for=60), Cure.WAIT),
        (together(5, 5, is_confirmed=True, reset_for=61), Cure.REPLACE),
        # What the cloud itself says is certain, however many there are.
        (together(5, 5, instance=STOPPED), Cure.REBOOT),
        (together(5, 5, instance=None), Cure.REPLACE),
        (together(5, 5, instance=FAILED), Cure.REPLACE),
        (together(5, 5, instance=STOPPED, reset_for=61), Cure.HOLD),
        # A warm instance takes its place, where it would be started or reset.
        (Diagnosis(Answer.SILENT, instance=STOPPED, has_stand_in=True), Cure.REPLACE),
        (Diagnosis(Answer.SILENT, silent_for=60, instance=ACTIVE, has_stand_in=True), Cure.WAIT),
        (Diagnosis(Answer.SILENT, silent_for=61, instance=ACTIVE, has_stand_in=True), Cure.REPLACE),
        (reset(silent_for=60, has_stand_in=True), Cure.WAIT),
        (together(5, 5, has_stand_in=True), Cure.HOLD),
        (together(5, 5, is_confirmed=True, silent_for=0, has_stand_in=True), Cure.REPLACE),
        (in_doubt(silent_for=60, has_stand_in=True), Cure.WAIT),
        (Diagnosis(Answer.ERROR, instance=ACTIVE, has_stand_in=True), Cure.WAIT),
        # The instance may still run and write, so it is neither replaced nor reset.
        (in_doubt(), Cure.WAIT),
        (in_doubt(silent_for=60), Cure.WAIT),
        (in_doubt(silent_for=61), Cure.ASK_OPERATOR),
        (in_doubt(silent_for=61, reset_for=61), Cure.ASK_OPERATOR),
        (in_doubt(is_confirmed=True), Cure.ASK_OPERATOR),
        (in_doubt(silent_together=5, active=5), Cure.ASK_OPERATOR),
        (in_doubt(instance=None), Cure.ASK_OPERATOR),
        (in_doubt(instance=FAILED), Cure.ASK_OPERATOR),
        (in_doubt(instance=STOPPED), Cure.WAIT),
        (in_doubt(instance=STOPPED, silent_for=61), Cure.ASK_OPERATOR),
        # It has ended for sure, whatever the cloud shows.
        (ended(), Cure.REPLACE),
        (ended(instance=None), Cure.REPLACE),
        (ended(instance=STOPPED), Cure.REPLACE),
        (ended(silent_together=5, active=5), Cure.REPLACE),
        # An answer is an answer.
        (Diagnosis(Answer.HEALTHY, fencing=in_doubt().fencing), Cure.NOTHING),
        (Diagnosis(Answer.ERROR, fencing=ended().fencing), Cure.WAIT),
        # Paused by the cloud: another one would be paused, too.
        (Diagnosis(Answer.SILENT, instance=PAUSED), Cure.WAIT),
        (Diagnosis(Answer.SILENT, silent_for=10_000, instance=PAUSED), Cure.WAIT),
    ],
)
def test_what_is_done(found: Diagnosis, cure: Cure) -> None:
    assert found.cure(PATIENCE, BOOT) == cure


def test_only_a_paused_instance_has_a_reason_to_wait_for_it() -> None:
    assert Diagnosis(Answer.SILENT, instance=PAUSED).fault == "no room"
    assert Diagnosis(Answer.SILENT, instance=FAILED).fault == ""
    assert Diagnosis(Answer.SILENT, instance=None).fault == ""
