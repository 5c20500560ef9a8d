"""What is done about a share server, decided from what is known of its service instance."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atoll.cloud.base import Instance, InstanceStatus
from atoll.driver.answer import Answer


class Cure(StrEnum):
    """What is done about a share server."""

    NOTHING = "nothing"
    SERVE_AGAIN = "serve again"
    """The agent answers again after it was silent. All shares of the server are checked."""
    RENEW = "renew"
    """The instance serves shares, and an operator has requested one of the newest image."""
    WAIT = "wait"
    REBOOT = "reboot"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of a share server's instance."""

    answer: Answer
    """What its agent answered just now."""
    was_silent: bool = False
    """Whether it was silent when it was last asked."""
    renewal_wanted: bool = False
    silent_for: float = 0.0
    """Seconds since it was first found silent, if it is silent."""
    instance: Instance | None = None
    """What the cloud says of it, if it is silent; None if it is gone."""

    @property
    def fault(self) -> str:
        """Why the instance is waited for: what the cloud or its agent has said; else empty."""
        if self.answer == Answer.ERROR:
            return "It answers, but with an error."
        if self.answer == Answer.UNASKED:
            return "Atoll can't log in to it, because of its own configuration."
        if self.instance is None or self.instance.status != InstanceStatus.ACTIVE:
            return ""
        return self.instance.fault

    def cure(self, patience: float) -> Cure:
        """What to do about it. ``patience`` is the option ``replace_dead_after``, in seconds.

        An instance that is gone or in error is replaced at once. One that only does not answer is
        rebooted after ``patience`` seconds, and replaced after twice that time. An instance that
        the cloud has paused is waited for, because a new one would fail in the same way. One that
        answers with an error, or that Atoll could not ask by its own fault, is left alone.
        """
        if self.answer in (Answer.ERROR, Answer.UNASKED):
            return Cure.WAIT
        if self.answer == Answer.HEALTHY:
            if self.renewal_wanted:
                return Cure.RENEW
            return Cure.SERVE_AGAIN if self.was_silent else Cure.NOTHING
        if self.fault:
            return Cure.WAIT
        status = None if self.instance is None else self.instance.status
        if status in (None, InstanceStatus.ERROR) or self.silent_for > 2 * patience:
            return Cure.REPLACE
        if status == InstanceStatus.STOPPED or self.silent_for > patience:
            return Cure.REBOOT
        return Cure.WAIT
