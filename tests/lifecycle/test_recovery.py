"""What is done about a share server, as a table."""

from __future__ import annotations

import pytest

from atoll.cloud.base import Instance, InstanceStatus
from atoll.driver.answer import Answer
from atoll.lifecycle.recovery import Cure, Diagnosis

PATIENCE = 60.0


def instance(status: InstanceStatus, fault: str = "") -> Instance:
    return Instance("i-1", "share_server/1", "atoll-1", status, fault)


ACTIVE, PAUSED = instance(InstanceStatus.ACTIVE), instance(InstanceStatus.ACTIVE, "no room")
STOPPED, BUILDING = instance(InstanceStatus.STOPPED), instance(InstanceStatus.BUILDING)
FAILED = instance(InstanceStatus.ERROR, "no host")


@pytest.mark.parametrize(
    ("found", "cure"),
    [
        (Diagnosis(Answer.HEALTHY), Cure.NOTHING),
        (Diagnosis(Answer.HEALTHY, was_silent=True), Cure.SERVE_AGAIN),
        (Diagnosis(Answer.HEALTHY, renewal_wanted=True), Cure.RENEW),
        (Diagnosis(Answer.HEALTHY, was_silent=True, renewal_wanted=True), Cure.RENEW),
        # Gone, or failed: there is nothing to wait for.
        (Diagnosis(Answer.SILENT, instance=None), Cure.REPLACE),
        (Diagnosis(Answer.SILENT, instance=FAILED), Cure.REPLACE),
        # Switched off: it is started.
        (Diagnosis(Answer.SILENT, instance=STOPPED), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, silent_for=60, instance=STOPPED), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, silent_for=121, instance=STOPPED), Cure.REPLACE),
        # Silent: it may be busy, or the way to it may be interrupted.
        (Diagnosis(Answer.SILENT, instance=ACTIVE), Cure.WAIT),
        (Diagnosis(Answer.SILENT, silent_for=60, instance=ACTIVE), Cure.WAIT),
        (Diagnosis(Answer.SILENT, silent_for=61, instance=ACTIVE), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, silent_for=120, instance=ACTIVE), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, silent_for=121, instance=ACTIVE), Cure.REPLACE),
        (Diagnosis(Answer.SILENT, was_silent=True, silent_for=61, instance=ACTIVE), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, silent_for=61, instance=BUILDING), Cure.REBOOT),
        (Diagnosis(Answer.SILENT, renewal_wanted=True, instance=ACTIVE), Cure.WAIT),
        # Paused by the cloud: another one would be paused, too.
        (Diagnosis(Answer.SILENT, instance=PAUSED), Cure.WAIT),
        (Diagnosis(Answer.SILENT, silent_for=10_000, instance=PAUSED), Cure.WAIT),
    ],
)
def test_what_is_done(found: Diagnosis, cure: Cure) -> None:
    assert found.cure(PATIENCE) == cure


def test_only_a_paused_instance_has_a_reason_to_wait_for_it() -> None:
    assert Diagnosis(Answer.SILENT, instance=PAUSED).fault == "no room"
    assert Diagnosis(Answer.SILENT, instance=FAILED).fault == ""
    assert Diagnosis(Answer.SILENT, instance=None).fault == ""
