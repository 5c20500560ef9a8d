"""Every error that Atoll raises on purpose.

    AtollError
    ├── ConfigurationError            the operator's settings are wrong
    ├── ImageBuildFailed              the service image could not be built
    ├── Refusal                       the API refuses a request: its message is the answer
    │   ├── Invalid                   the request is malformed or impossible            (400)
    │   │   ├── QuotaExceeded         more than the project may have                    (413)
    │   │   ├── BodyTooLarge          the request body is too large                     (413)
    │   │   ├── Unprocessable         the request body is empty or has no envelope      (422)
    │   │   └── NotAcceptable         the microversion is not supported                 (406)
    │   ├── Unauthenticated           no token, or not a valid one                      (401)
    │   ├── NotFound                  it does not exist, or is not the caller's         (404)
    │   ├── Conflict                  the resource's state does not allow it            (409)
    │   └── Forbidden                 policy says no                                    (403)
    ├── DiskFull                      only deletions are possible until it has space    (507)
    ├── KeystoneUnavailable           no token can be validated                         (503)
    │   └── NeutronUnavailable        no access to a network can be checked             (503)
    ├── CloudError                    the cloud refused or failed
    │   ├── CloudUnavailable          no answer, or a request to try again later: try again
    │   ├── CloudNotFound             the cloud has no such resource
    │   ├── OutOfCapacity             the cloud has no capacity or no quota left
    │   ├── VolumeInUse               the volume is still attached
    │   └── InstanceMayStillRun       it is not proved that an instance has ended
    ├── GuestError                    the guest agent refused or failed
    │   ├── GuestUnreachable          no channel, or no answer in time: try again
    │   ├── GuestBusy                 it answers, but did not finish in time: try again
    │   ├── FreezeLost                a freeze ended before it was undone
    │   ├── StaleFence                a newer operation has taken over: stop
    │   └── DeviceNotBlank            mkfs refused: the device carries a signature
    ├── ShareBackendException         the driver failed (the name is the contract's)
    │   ├── ServiceInstanceException  a service instance could not be set up
    │   │   └── NoShareServer         the share that waits for it can't be created
    │   ├── NoValidHost               no pool passes the scheduler's filters
    │   ├── ServiceInstanceUnavailable  the instance exists but does not serve
    │   ├── InvalidShareAccess        the protocol has no access rules of this type
    │   ├── InvalidShareAccessLevel   the protocol has no such access level
    │   ├── ShareShrinkingPossibleDataLoss
    │   ├── VolumeLost                the share's volume is gone
    │   ├── SnapshotInconsistent      the file system was thawed too early: try again
    │   └── NotSupported              the driver does not support it
    └── OperationError
        ├── LeaseLost                 another worker has taken this operation over
        ├── LaneFull                  not a failure: the share server has enough operations
        ├── WorkerStopping            not a failure: stop, another worker continues
        └── Postponed                 not a failure: wait for another resource first

Each error has two texts. ``message`` and ``hint`` are for the operator: they go to the log and to
the operation's row, and may quote the cloud and name hosts and paths. Users read only ``public``,
which is never derived from ``message``. A class that sets neither uses its docstring for both, so
the docstring must be fit for users.
``retryable`` says whether the same operation may succeed later without intervention.
"""

from __future__ import annotations

from typing import ClassVar


class AtollError(Exception):
    """Something went wrong in Atoll."""

    hint: str = ""
    public: str = "Something went wrong in Atoll."
    """What users read: what happened, and what they can do, in full sentences.

    A class that does not set it uses the first paragraph of its docstring.
    """
    retryable: ClassVar[bool] = False
    retry_within: float | None = None
    """Seconds within which a retry follows, as often as needed, because something is waited for."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "public" not in cls.__dict__ and cls.__doc__:
            cls.public = " ".join(cls.__doc__.strip().partition("\n\n")[0].split())

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, public: str | None = None
    ) -> None:
        """``public`` replaces the class's own sentence for users. It may contain quotas, sizes and
        names that the users chose. Without ``message``, operators read the same sentence.
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


# --- refusals of the API -----------------------------------------------------------------------


class Refusal(AtollError):
    """The request is refused."""

    @property
    def answer(self) -> str:
        """The message, because the messages of refusals are written for users."""
        return str(self)


class Invalid(Refusal):
    """The request is not valid."""


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
    """The service's disk is full, so nothing can be created now. Delete something, or wait."""

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
    """The cloud has no such resource (any more)."""

    public = "A resource that is needed for this does not exist in the cloud (any more)."


class OutOfCapacity(CloudError):
    """The cloud has no room left for this."""

    public = (
        "The cloud has no room, or no quota, left for this. Delete what is no longer needed, "
        "or ask the administrator to add capacity."
    )
    hint = "Free some space, or ask the administrator to add capacity."


class VolumeInUse(CloudError):
    """The volume is still attached to an instance."""

    retryable = True


class InstanceMayStillRun(CloudError):
    """A service instance may still run, so its shares can't move to another one yet."""

    public = (
        "The service instance may still run on a host that does not answer, so its shares can't "
        "move to another instance yet. The administrator can confirm that it has ended."
    )
    hint = (
        "Bring its host back. Or make sure that the instance does not run any more, and say so: "
        "'atoll server fence SERVER', or, for all instances of a dead compute host, 'openstack "
        "compute service set --down HOST nova-compute'."
    )

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        public: str | None = None,
        instance_id: str = "",
    ) -> None:
        super().__init__(message, hint=hint, public=public)
        self.instance_id = instance_id


# --- the guest agent --------------------------------------------------------------------------


class GuestError(AtollError):
    """The guest agent could not do what it was asked."""

    public = "The service instance could not carry out the request."


class GuestUnreachable(GuestError):
    """The service instance does not answer."""

    public = "The service instance does not answer. If this lasts, Atoll replaces the instance."
    hint = "Atoll replaces it if this lasts; 'atoll doctor' shows the cause."
    retryable = True


class LoginKeyUnusable(GuestError):
    """Atoll has no key with which it could log in. The service instance may well be in order."""

    public = "Atoll can't reach the service instance because its configuration is wrong."
    hint = (
        "Restore the file secret.key that belongs to this database; service instances continue to "
        "serve meanwhile."
    )
    retryable = True


class GuestBusy(GuestError):
    """The guest agent did not finish in time, or is busy with another task for this share."""

    public = "The service instance did not finish in time."
    retryable = True


class FreezeLost(GuestError):
    """The file system was thawed too early."""

    retryable = True


class StaleFence(GuestError):
    """A newer operation has already acted on this share."""


class DeviceNotBlank(GuestError):
    """The volume has a file system or another signature, so it was not formatted."""


# --- the driver (names as in the contract) ----------------------------------------------------


class ShareBackendException(AtollError):
    """The share could not be served."""


class ServiceInstanceException(ShareBackendException):
    """The service instance could not be set up."""


class NotRenewed(ServiceInstanceException):
    """No newer service instance could be made, so the old one goes on serving."""

    hint = "When the reason is mended, run 'atoll server upgrade' again."


class NotRenewedYet(NotRenewed):
    """No newer service instance could be made yet, so the old one goes on serving."""

    retryable = True


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
        """Name of the scheduler's filter that left no host; empty if no filter did."""


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
    """The share's volume and its data do not exist any more."""

    hint = "If the cloud can restore the volume, do that first. Otherwise delete the share."
    public = (
        "The share's volume and its data do not exist any more. Ask the administrator whether "
        "they can be restored; otherwise delete the share."
    )


class SnapshotInconsistent(ShareBackendException):
    """The share's file system was written to while its volume was copied."""

    retryable = True


class NotSupported(ShareBackendException, NotImplementedError):
    """This back end can't do this."""


# --- operations -------------------------------------------------------------------------------


class OperationError(AtollError):
    """The operation can't continue."""


class LeaseLost(OperationError):
    """Another worker has taken this operation over."""


class LaneFull(OperationError):
    """The share server is busy with enough operations already."""


class WorkerStopping(OperationError):
    """The worker is stopping; another worker will continue the operation."""


class Postponed(OperationError):
    """The operation waits for another resource."""

    def __init__(self, message: str | None = None, *, waits_for: str, hint: str | None = None):
        super().__init__(message, hint=hint)
        self.waits_for = waits_for
        """Key of the resource, e.g. ``share_server/<id>``, whose operation must settle first."""
