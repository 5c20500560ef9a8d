"""How Atoll reaches service instances, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from atoll.cloud.base import Cloud
from atoll.config import Driver as DriverOptions
from atoll.driver.answer import Answer
from atoll.driver.common_server import CommonServer
from atoll.driver.fence import INSTANCE_ID
from atoll.driver.identity import InstanceKeys
from atoll.driver.resources import ServerDetails
from atoll.driver.stand_in import StandIns
from atoll.driver.storage import PrivateStorage
from atoll.errors import (
    CloudError,
    CloudUnavailable,
    ConfigurationError,
    GuestError,
    GuestUnreachable,
    LoginKeyUnusable,
    ServiceInstanceException,
    ServiceInstanceUnavailable,
)
from atoll.guest.base import Guest, Health
from atoll.guest.pool import GuestPool
from atoll.model.keys import server_key
from atoll.model.states import InstanceStatus

T = TypeVar("T")

ANSWER_SECONDS: Final = 10.0
"""How long an instance that should be up may take to answer, so that a failure is noticed soon."""
SIGN_SECONDS: Final = 5.0
"""How long an instance may take to let Atoll log in, when it is asked whether it is alive."""


class InstanceAccess:
    """The channels to instances, those of share servers and the common one."""

    def __init__(
        self, cloud: Cloud, storage: PrivateStorage, pool: GuestPool, options: DriverOptions
    ) -> None:
        self.cloud = cloud
        self.storage = storage
        self.options = options
        self._pool = pool
        self._common = CommonServer(cloud, options)
        self._stand_ins = StandIns(storage)

    def guest(self, server: ServerDetails, deadline: float = ANSWER_SECONDS) -> Guest:
        """The channel to the instance's agent, opened if there is none.

        Raises ``LoginKeyUnusable``, or ``GuestUnreachable`` (at once if it is known not to answer).
        """
        key = _channel_key(server)

        def connect(seconds: float) -> Guest:
            keys: InstanceKeys | CommonServer = self._common
            if server.get("server_id"):
                keys = InstanceKeys(self.storage, self._stand_ins.keeper(key))
            try:
                access = keys.access(server["username"], server["ip"])
            except (ServiceInstanceException, ConfigurationError) as error:
                raise LoginKeyUnusable(f"Atoll can't log in to {key}: {error}") from error
            return self.cloud.open_guest(server[INSTANCE_ID], access, seconds)

        return self._pool.get(key, connect, deadline)

    def reach(self, server: ServerDetails) -> Guest:
        """``guest``, but ``ServiceInstanceUnavailable`` says what is wrong with the instance."""
        try:
            return self.guest(server)
        except GuestUnreachable as error:
            raise ServiceInstanceUnavailable(self._diagnosis(server)) from error

    def ask(self, server: ServerDetails, call: Callable[[Guest], T]) -> T:
        """What ``call`` returns. If the channel is dead, it is called again with a new one.

        Raises ``ServiceInstanceUnavailable``, with the cause, for an instance that doesn't answer.
        """
        try:
            return call(self.guest(server))
        except GuestUnreachable:
            guest = self.reach(server)
        try:
            return call(guest)
        except GuestUnreachable as error:
            raise ServiceInstanceUnavailable(self._diagnosis(server)) from error

    def health(self, server: ServerDetails) -> Health:
        """What the instance actually serves, by one request.

        Raises ``ServiceInstanceUnavailable``, within seconds.
        """
        return self.ask(server, lambda guest: guest.health(deadline=ANSWER_SECONDS))

    def answer(self, server: ServerDetails) -> Answer:
        """What the instance's agent answers when it is asked how it is, within seconds.

        It is asked even if it was silent a moment ago.
        """
        self._pool.end_pause(_channel_key(server))
        try:
            guest = self.guest(server, SIGN_SECONDS)
            try:
                health = guest.health(deadline=ANSWER_SECONDS)
            except GuestUnreachable:  # the channel may have been an old one
                health = self.guest(server, SIGN_SECONDS).health(deadline=SIGN_SECONDS)
        except (GuestError, ServiceInstanceUnavailable) as error:
            return Answer.of(error)
        return Answer.HEALTHY if health.nfs_running else Answer.NOT_SERVING

    def serves_nfs(self, server: ServerDetails) -> bool:
        """Whether its NFS server answers Atoll, although the agent may not."""
        return self.cloud.nfs_answers(server[INSTANCE_ID], server["ip"])

    def serves_clients(self, server: ServerDetails) -> bool:
        """Whether its NFS server answers in a network of clients, as far as Atoll can ask there."""
        return self.cloud.serves_clients(server[INSTANCE_ID])

    def instance_is_off(self, server: ServerDetails, *, or_failed: bool = True) -> bool:
        """Whether it is gone, stopped or (``or_failed``) in error; False if the cloud is away."""
        instance_id = server.get(INSTANCE_ID)
        try:
            instance = self.cloud.compute.get_instance(instance_id) if instance_id else None
        except CloudUnavailable:
            return False
        status = None if instance is None else instance.status
        return status in (None, InstanceStatus.STOPPED) or (
            or_failed and status == InstanceStatus.ERROR
        )

    def _diagnosis(self, server: ServerDetails) -> str:
        instance_id = server.get(INSTANCE_ID, "")
        try:
            instance = self.cloud.compute.get_instance(instance_id)
        except CloudError as error:
            return f"Neither the service instance {instance_id} nor the cloud answers: {error}"
        if instance is None:
            return f"The service instance {instance_id} is gone."
        if instance.status != InstanceStatus.ACTIVE:
            fault = f" ({instance.fault})" if instance.fault else ""
            return f"The service instance {instance_id} is {instance.status}{fault}."
        return f"The service instance {instance_id} is active, but does not answer."


def _channel_key(server: ServerDetails) -> str:
    server_id = server.get("server_id")
    return server_key(server_id) if server_id else f"common_server/{server[INSTANCE_ID]}"
