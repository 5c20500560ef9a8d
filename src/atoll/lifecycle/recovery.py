"""What is done about a share server, decided from what is known of its service instance."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from atoll.cloud.base import Fencing, FencingState, Instance, InstanceStatus
from atoll.driver.answer import Answer

SERVED = 10
"""How many times as long an instance may be silent while its NFS server answers."""

MANY = 2
"""The least number of servers whose silence may have a common cause."""

MOST = 0.25
"""The largest part of all servers that may fall silent together without a common cause."""

_CUT_OFF: Final = (
    "Its NFS server answers clients, but it can't be reached at its management address, so the "
    "network between Atoll and it is probably at fault. Nothing is restarted."
)

CAN_BE_FENCED: Final = Fencing(FencingState.POSSIBLE)


class Cure(StrEnum):
    """What is done about a share server."""

    NOTHING = "nothing"
    SERVE_AGAIN = "serve again"
    """The agent answers again after it was silent, or its NFS server does not run. All shares of
    the server are checked."""
    RENEW = "renew"
    """The instance serves shares, and an operator has requested one of the newest image."""
    WAIT = "wait"
    HOLD = "hold"
    """Many instances fell silent together, so the cause is most likely on Atoll's side."""
    REBOOT = "reboot"
    REPLACE = "replace"
    ASK_OPERATOR = "ask operator"
    """The instance has to be replaced, but may still run on a host that the cloud doesn't reach."""


def is_widespread(silent_together: int, active: int) -> bool:
    """Whether so many servers fell silent together that they have a common cause."""
    return silent_together >= MANY and silent_together > MOST * active


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of a share server's instance."""

    answer: Answer
    """What its agent answered just now."""
    was_silent: bool = False
    """Whether it was silent when it was last asked."""
    renewal_wanted: bool = False
    silent_for: float = 0.0
    """Seconds for which this worker has seen it silent, by itself and since it was reset."""
    reset_for: float | None = None
    """Seconds since it was reset, or started, because of this silence; None if it was not."""
    instance: Instance | None = None
    """What the cloud says of it, if it is silent; None if it is gone."""
    fencing: Fencing = CAN_BE_FENCED
    """What is known about its end, if it is silent."""
    silent_together: int = 1
    """How many servers of the back end fell silent in the same minutes, this one included."""
    active: int = 1
    """How many active servers the back end has."""
    is_served: bool = False
    """Whether its NFS server answers, so that clients are served although the agent is silent."""
    is_cut_off: bool = False
    """Whether its NFS server answers where clients reach it, but not where Atoll does.

    Then the network between Atoll and the instance is at fault.
    """
    is_confirmed: bool = False
    """Whether an operator has confirmed that the instance itself is at fault."""
    has_stand_in: bool = False
    """Whether a warm instance could take its place at once."""

    @property
    def fault(self) -> str:
        """Why the instance is waited for: what the cloud or its agent has said; else empty."""
        if self.answer == Answer.ERROR:
            return "It answers, but with an error."
        if self.answer == Answer.UNASKED:
            return "Atoll can't log in to it, because of its own configuration."
        if self.instance is not None and self.is_paused:
            return self.instance.fault
        if self.is_cut_off:
            return _CUT_OFF
        return "Its NFS server answers, but its agent does not." if self.is_served else ""

    @property
    def is_paused(self) -> bool:
        """Whether the cloud holds an active instance, such as for a full disk."""
        found = self.instance
        return found is not None and found.status == InstanceStatus.ACTIVE and bool(found.fault)

    def cure(self, patience: float, boot: float) -> Cure:
        """What to do about it.

        ``patience`` is the option ``replace_dead_after``, and ``boot`` the option
        ``replace_after_reset``, both in seconds.

        An instance that is gone or in error is replaced at once. One that is only silent is reset
        after ``patience`` seconds, and replaced if it is still silent ``boot`` seconds after that.
        While its NFS server answers, clients are served, so that it is left alone for much longer.
        One that clients reach, but Atoll does not, is left alone until an operator confirms.
        An instance that the cloud has paused is waited for, because a new one would fail in the
        same way. An instance that answers with an error, or that Atoll could not ask by its own
        fault, is left alone. So is one that fell silent together with many others, until an
        operator confirms that it is at fault.

        With a warm instance that can stand in, an instance is replaced where it would be reset or
        started, because a boot takes longer.

        An instance that has ended for sure is replaced at once. One whose end could not be proved
        is never replaced. It is not reset either, because its host can't be reached.
        """
        if self.answer == Answer.NOT_SERVING:
            return Cure.SERVE_AGAIN
        if self.answer == Answer.HEALTHY:
            if self.renewal_wanted:
                return Cure.RENEW
            return Cure.SERVE_AGAIN if self.was_silent else Cure.NOTHING
        if self.answer != Answer.SILENT or self.is_paused:
            return Cure.WAIT
        return self._cure_of_silence(patience, boot)

    def _cure_of_silence(self, patience: float, boot: float) -> Cure:
        status = None if self.instance is None else self.instance.status
        is_overdue = self.silent_for > (patience * SERVED if self.is_served else patience)
        is_served = self.is_cut_off or (self.is_served and not is_overdue)
        is_failed = status == InstanceStatus.ERROR and not is_served
        is_lost = status is None or is_failed or self.fencing.state == FencingState.PROVED
        if self.fencing.state == FencingState.DOUBTFUL:
            needs_operator = is_lost or is_overdue or self.is_confirmed or self._has_company
            return Cure.ASK_OPERATOR if needs_operator else Cure.WAIT
        if is_lost:
            return Cure.REPLACE
        return self._cure_of_a_running_one(is_overdue, boot)

    def _cure_of_a_running_one(self, is_overdue: bool, boot: float) -> Cure:
        was_reset = self.reset_for is not None
        is_off = self.instance is not None and self.instance.status == InstanceStatus.STOPPED
        restart = Cure.REPLACE if self.has_stand_in else Cure.REBOOT
        if is_off and not (was_reset and is_overdue):
            return restart
        if self.reset_for is not None and self.reset_for <= boot:
            return Cure.WAIT  # it boots, perhaps together with all others of a rebooted host
        if self._has_company and not self.is_confirmed:
            return Cure.HOLD
        if self.is_cut_off and not self.is_confirmed:
            return Cure.WAIT
        if was_reset:
            return Cure.REPLACE if is_overdue else Cure.WAIT
        return restart if is_overdue or self.is_confirmed else Cure.WAIT

    @property
    def _has_company(self) -> bool:
        return is_widespread(self.silent_together, self.active)
