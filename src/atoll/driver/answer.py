"""What came back when a service instance was asked how it is."""

from __future__ import annotations

from enum import StrEnum

from atoll.errors import AtollError, GuestUnreachable, LoginKeyUnusable, ServiceInstanceUnavailable


class Answer(StrEnum):
    """What came back."""

    HEALTHY = "healthy"
    NOT_SERVING = "not serving"
    """The agent answers, but the NFS server does not run."""
    ERROR = "error"
    """The agent answered that it is busy, or that something failed, so the instance is alive."""
    SILENT = "silent"
    UNASKED = "unasked"
    """Atoll could not ask, by a fault of its own. Nothing is known of the instance."""

    @classmethod
    def of(cls, error: AtollError) -> Answer:
        """What an error of the request means."""
        if isinstance(error, LoginKeyUnusable):
            return cls.UNASKED
        if isinstance(error, GuestUnreachable | ServiceInstanceUnavailable):
            return cls.SILENT
        return cls.ERROR
