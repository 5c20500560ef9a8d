"""What is done about a share server, as a table."""

from __future__ import annotations

import pytest

from atoll.cloud.base import Instance, InstanceStatus
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
        (Diagnosis(True), Cure.NOTHING),
        (Diagnosis(True, was_silent=True), Cure.SERVE_AGAIN),
        (Diagnosis(True, renewal_wanted=True), Cure.RENEW),
        (Diagnosis(True, was_silent=True, renewal_wanted=True), Cure.RENEW),
        # Gone, or failed: there is nothing to wait for.
        (Diagnosis(False, instance=None), Cure.REPLACE),
        (Diagnosis(False, instance=FAILED), Cure.REPLACE),
        # Switched off: it is started.
        (Diagnosis(False, instance=STOPPED), Cure.REBOOT),
        (Diagnosis(False, silent_for=60, instance=STOPPED), Cure.REBOOT),
        (Diagnosis(False, silent_for=121, instance=STOPPED), Cure.REPLACE),
        # Silent: it may be busy, or the way to it may be interrupted.
        (Diagnosis(False, instance=ACTIVE), Cure.WAIT),
        (Diagnosis(False, silent_for=60, instance=ACTIVE), Cure.WAIT),
        (Diagnosis(False, silent_for=61, instance=ACTIVE), Cure.REBOOT),
        (Diagnosis(False, silent_for=120, instance=ACTIVE), Cure.REBOOT),
        (Diagnosis(False, silent_for=121, instance=ACTIVE), Cure.REPLACE),
        (Diagnosis(False, was_silent=True, silent_for=61, instance=ACTIVE), Cure.REBOOT),
        (Diagnosis(False, silent_for=61, instance=BUILDING), Cure.REBOOT),
        (Diagnosis(False, renewal_wanted=True, instance=ACTIVE), Cure.WAIT),
        # Paused by the cloud: another one would be paused, too.
        (Diagnosis(False, instance=PAUSED), Cure.WAIT),
        (Diagnosis(False, silent_for=10_000, instance=PAUSED), Cure.WAIT),
    ],
)
def test_what_is_done(found: Diagnosis, cure: Cure) -> None:
    assert found.cure(PATIENCE) == cure


def test_only_a_paused_instance_has_a_reason_to_wait_for_it() -> None:
    assert Diagnosis(False, instance=PAUSED).fault == "no room"
    assert Diagnosis(False, instance=FAILED).fault == ""
    assert Diagnosis(False, instance=None).fault == ""
