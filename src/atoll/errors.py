"""Every error that Atoll raises on purpose.

    AtollError
    ├── ConfigurationError            the operator's settings are wrong
    ├── ImageBuildFailed              the service image could not be built
    ├── Refusal                       the API refuses a request: its message is the answer
    │   ├── Invalid                   the caller's wish is malformed or impossible      (400)
    │   │   ├── QuotaExceeded         more than the project may have                    (413)
    │   │   ├── BodyTooLarge          the request body is larger than is read           (413)
    │   │   ├── Unprocessable         the request body is empty or has no envelope      (422)
    │   │   └── NotAcceptable         a microversion that we don't have                 (406)
    │   ├── Unauthenticated           no token, or not a valid one                      (401)
    │   ├── NotFound                  no such thing, or not the caller's                (404)
    │   ├── Conflict                  not in the thing's present state                  (409)
    │   └── Forbidden                 policy says no                                    (403)
    ├── DiskFull                      only what makes room is done now                  (507)
    ├── KeystoneUnavailable           nobody can say whose token it is                  (503)
    │   └── NeutronUnavailable        nobody can say whose network it is                (503)
    ├── CloudError                    the cloud refused or failed: terminal for a try
    │   ├── CloudUnavailable          no answer, or "later": try again
    │   ├── CloudNotFound             the thing is gone
    │   ├── OutOfCapacity             no room or no quota in the cloud
    │   └── VolumeInUse               still attached somewhere
    ├── GuestError                    the guest agent refused or failed
    │   ├── GuestUnreachable          no channel, or no answer in time: try again
    │   ├── GuestBusy                 it answers, but was not finished in time: try again
    │   ├── FreezeLost                a freeze ended before it was undone
    │   ├── StaleFence                a newer operation has been here: stop
    │   └── DeviceNotBlank            mkfs refused: the device carries a signature
    ├── ShareBackendException         the driver could not do it (the contract's name)
    │   ├── ServiceInstanceException  a service instance could not be set up
    │   │   └── NoShareServer         and the share that waits for it can't be made
    │   ├── NoValidHost               no pool passes the scheduler's filters
    │   ├── ServiceInstanceUnavailable  it exists but does not serve
    │   ├── InvalidShareAccess        an access rule that this protocol can't have
    │   ├── InvalidShareAccessLevel   a level that this protocol can't have
    │   ├── ShareShrinkingPossibleDataLoss
    │   ├── VolumeLost                the share's volume is gone
    │   ├── SnapshotInconsistent      the freeze did not hold: try again
    │   └── NotSupported              the driver can't do this at all
    └── OperationError
        ├── LeaseLost                 another worker has taken this operation over
        ├── LaneFull                  not a failure: enough runs on this share server already
        ├── WorkerStopping            not a failure: leave off, another worker goes on
        └── Postponed                 not a failure: wait for another resource first

Each error has two texts. ``message`` and ``hint`` are for the operator: they go to the log and to
the operation's row, and may contain a cloud's own words, hosts and paths. ``public`` is all that a
user reads; it is never made from ``message``. If nothing else is given, a class's docstring serves
as both texts, so it must be fit for users.
``retryable`` says whether the same operation may succeed later without anybody's help.
"""

from __future__ import annotations

from typing import ClassVar


class AtollError(Exception):
    """Something went wrong in Atoll."""

    hint: str = ""
    public: str = "Something went wrong in Atoll."
    """What a user may read: what happened, and what the user can do, in whole sentences.

    A class that gives none has its docstring's first paragraph.
    """
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "public" not in cls.__dict__ and cls.__doc__:
            cls.public = " ".join(cls.__doc__.strip().partition("\n\n")[0].split())

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, public: str | None = None
    ) -> None:
        """``public`` replaces the class's own sentence for users; it may name quotas, sizes, and
        names that users gave themselves. Without ``message`` it is the operator's sentence, too.
        """
        self.message = message or public or type(self).public
        if hint is not None:
            self.hint = hint
        if public is not None:
            self.public = public
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    @property
    def answer(self) -> str:
        """The sentence with which the API answers a request that ends in this error."""
        return self.public


class ConfigurationError(AtollError):
    """The configuration is wrong."""

    public = "Atoll's configuration is wrong. Only the administrator can correct it."
    hint = "Run 'atoll doctor' to see every finding."


class ImageBuildFailed(AtollError):
    """The service image could not be built."""

    hint = "Nothing is left behind; check the network and the apt sources, then try again."


# --- what a caller of the API meets -----------------------------------------------------------


class Refusal(AtollError):
    """The request is refused."""

    @property
    def answer(self) -> str:
        """The message itself, because refusals are written for the caller."""
        return str(self)


class Invalid(Refusal):
    """The request can't be carried out as it is."""


class QuotaExceeded(Invalid):
    """The project's quota does not allow this."""

    hint = "Delete something, or ask the administrator for a larger quota."


class BodyTooLarge(Invalid):
    """The request body is too large."""


class Unprocessable(Invalid):
    """The request body is missing or is not what this request needs."""


class NotAcceptable(Invalid):
    """The API does not have this microversion."""


class Unauthenticated(Refusal):
    """The request you have made requires authentication."""


class DiskFull(AtollError):
    """The service's disk is full: nothing new can be made now. Delete something, or wait."""

    retryable = True


class KeystoneUnavailable(AtollError):
    """Keystone can't be asked at the moment whether your token is valid. Try again shortly."""

    retryable = True


class NeutronUnavailable(KeystoneUnavailable):
    """Neutron can't be asked at the moment whether your project may use the network."""


class NotFound(Refusal):
    """There is no such resource."""


class Conflict(Refusal):
    """The resource is not in a state that allows this."""


class Forbidden(Refusal):
    """Policy does not allow this."""


# --- clouds -----------------------------------------------------------------------------------


class CloudError(AtollError):
    """The cloud refused or failed."""


class CloudUnavailable(CloudError):
    """The cloud does not answer at the moment."""

    retryable = True


class CloudNotFound(CloudError):
    """The cloud has no such thing (any more)."""

    public = "Something that is needed for this does not exist in the cloud (any more)."


class OutOfCapacity(CloudError):
    """The cloud has no room left for this."""

    public = (
        "The cloud has no room, or no quota, left for this. Delete what is not needed any more, "
        "or ask the administrator to add capacity."
    )
    hint = "Free some space, or ask the administrator to add capacity."


class VolumeInUse(CloudError):
    """The volume is still attached to an instance."""

    retryable = True


# --- the guest agent --------------------------------------------------------------------------


class GuestError(AtollError):
    """The guest agent could not do what it was asked."""

    public = "The service instance could not do what was asked of it."


class GuestUnreachable(GuestError):
    """The service instance does not answer."""

    public = "The service instance does not answer. If it stays silent, Atoll replaces it."
    hint = "It is replaced by itself when it stays away; 'atoll doctor' shows why."
    retryable = True


class GuestBusy(GuestError):
    """The guest agent did not finish in time, or is busy with another task for this share."""

    public = "The service instance did not finish in time."
    retryable = True


class FreezeLost(GuestError):
    """The file system had been thawed before it was meant to be."""

    retryable = True


class StaleFence(GuestError):
    """A newer operation has already acted on this share."""


class DeviceNotBlank(GuestError):
    """The volume carries a file system or other signature, so it was not formatted."""


# --- the driver (names as in the contract) ----------------------------------------------------


class ShareBackendException(AtollError):
    """The share could not be served."""


class ServiceInstanceException(ShareBackendException):
    """The service instance could not be set up."""


class NoShareServer(ServiceInstanceException):
    """The share server could not be set up."""


class NoValidHost(ShareBackendException):
    """No valid host was found for the share."""

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        public: str | None = None,
        failed: str = "",
    ) -> None:
        super().__init__(message, hint=hint, public=public)
        self.failed = failed
        """Name of the scheduler's filter that left no host; empty: none did."""


class ServiceInstanceUnavailable(ShareBackendException):
    """The service instance exists but does not serve."""

    retryable = True


class InvalidShareAccess(ShareBackendException):
    """This protocol has no access rules of this type."""


class InvalidShareAccessLevel(ShareBackendException):
    """This protocol has no such access level."""


class ShareShrinkingPossibleDataLoss(ShareBackendException):
    """The share holds more than the new size."""


class VolumeLost(ShareBackendException):
    """The share's volume does not exist any more, and its data with it."""

    hint = "Delete the share; if the cloud can bring the volume back, do that first."
    public = (
        "The share's volume does not exist any more, and its data with it. Ask the administrator "
        "whether it can be brought back; otherwise delete the share."
    )


class SnapshotInconsistent(ShareBackendException):
    """The share's file system was written to while its volume was copied."""

    retryable = True


class NotSupported(ShareBackendException, NotImplementedError):
    """This back end can't do this."""


# --- operations -------------------------------------------------------------------------------


class OperationError(AtollError):
    """The operation can't go on."""


class LeaseLost(OperationError):
    """Another worker has taken this operation over."""


class LaneFull(OperationError):
    """Enough operations keep this share server busy already."""


class WorkerStopping(OperationError):
    """The worker stops; the operation goes on elsewhere or later."""


class Postponed(OperationError):
    """The operation waits for another resource."""

    def __init__(self, message: str | None = None, *, waits_for: str, hint: str | None = None):
        super().__init__(message, hint=hint)
        self.waits_for = waits_for
        """Key of the resource, e.g. ``share_server/<id>``, whose settled operation wakes us."""
