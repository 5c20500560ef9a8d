"""Service instances: how they are made, reached, rebooted, replaced and removed.

A service instance can be replaced at any time, because its root disk holds no data. Its identity is
its ports (addresses) and its keys. Both are in private storage and outlive the instance, so
``replace_service_instance`` gives them to a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from atoll.cloud.base import Cloud, Instance
from atoll.config import Driver as DriverOptions
from atoll.driver.fence import INSTANCE_ID, InstanceFence
from atoll.driver.identity import InstanceKeys
from atoll.driver.instance_access import ANSWER_SECONDS, InstanceAccess
from atoll.driver.instance_builder import IMAGE_ID, InstanceBuilder
from atoll.driver.network import BaseNetworkhelper, InstancePorts, NeutronNetworkHelper
from atoll.driver.resources import NetworkInfo, ServerDetails
from atoll.driver.server_state import ServerStates
from atoll.driver.storage import PrivateStorage
from atoll.driver.timing import timed
from atoll.errors import (
    AtollError,
    CloudError,
    CloudUnavailable,
    GuestUnreachable,
    ServiceInstanceException,
)
from atoll.guest.pool import GuestPool
from atoll.model.keys import server_key

log = structlog.get_logger(__name__)

OnActive = Callable[[str], None]
"""It is called with an instance's id as soon as volumes can be attached to the instance."""

FIRST_ANSWER_SECONDS = 60.0
"""How long an instance that has just booted may take to answer.

Its caches are cold, and giving up costs another boot.
"""
STAND_IN_SECONDS = 20.0
"""How long a warm instance may take to let Atoll log in.

It has three times as long if its NFS server answers, because then it is only slow, and so would be
the boot of another one.
"""
CONNECT_SECONDS = 60.0
"""How long the cloud may take to have packets pass an instance's ports."""


def nothing(instance_id: str) -> None:
    """Do nothing while an instance boots."""


class ServiceInstanceManager(InstanceAccess):
    """Makes and repairs service instances. It has hardly any state; make one for each operation."""

    def __init__(
        self,
        driver_config: DriverOptions | None = None,
        *,
        cloud: Cloud,
        storage: PrivateStorage,
        pool: GuestPool,
    ) -> None:
        super().__init__(cloud, storage, pool, driver_config or DriverOptions())
        self._states = ServerStates(cloud, storage, self.options.service_instance_name_template)
        self._common_details: dict[str, str] | None = None
        self.fence = InstanceFence(cloud.compute, storage)
        self._builder = InstanceBuilder(cloud, storage, self.options, pool, self.fence)

    # --- the contract -----------------------------------------------------------------------

    @property
    def network_helper(self) -> BaseNetworkhelper:
        """How instances are connected."""
        return NeutronNetworkHelper(self)

    def get_config_option(self, key: str) -> object:
        """Value of a configuration option. Raises ``AttributeError`` for an unknown one."""
        return getattr(self.options, key)

    def get_common_server(self) -> ServerDetails:
        """The one instance of a back end without share servers. It is looked up only once."""
        if self.options.driver_handles_share_servers:
            raise ServiceInstanceException(
                public="This back end handles share servers; there is no common one. "
                "Use a share type with driver_handles_share_servers=True.",
            )
        if self._common_details is None:
            self._common_details = self._common.details()
        return self._common_details

    def set_up_service_instance(
        self,
        context: object,
        network_info: NetworkInfo,
        on_active: OnActive = nothing,
    ) -> dict[str, str]:
        """Find or make the share server's instance. Returns its details when it answers.

        Without ``neutron_net_id`` it is a warm instance, in the service network only. A second call
        with one plugs the instance into that network. ``on_active`` is called with the instance's
        id as soon as volumes can be attached, long before the instance answers.

        Raises ``ServiceInstanceException`` (after deleting the instance, so that the next try gets
        another) or ``CloudUnavailable``.
        """
        ports = self._ports(network_info)
        details = self._boot(network_info, ports, ports.ids, on_active)
        self.guest(details, FIRST_ANSWER_SECONDS).start_nfs()
        return details

    def ensure_service_instance(self, context: object, server: ServerDetails) -> bool:
        """True if the instance answers; else raises ``ServiceInstanceUnavailable`` in seconds."""
        self.health(server)
        return True

    def delete_service_instance(self, context: object, server_details: ServerDetails) -> None:
        """Remove the instance, its ports and what is stored about it. They may be gone already.

        ``server_id`` is sufficient, because everything that was made for it is found by its owner.
        """
        owner = _own(server_details)
        self._pool.drop(owner)
        used = self.storage.get(owner, INSTANCE_ID)  # another server's, if that one stands in
        for instance in self.cloud.compute.list_instances():
            if instance.owner == owner or instance.id == used:
                self.storage.check_current()
                self.cloud.compute.delete_instance(instance.id)
        self._states.remove(server_details["server_id"])
        self.network_helper.teardown_network(server_details)
        self.storage.delete(owner)

    def reboot_server(self, server: ServerDetails, soft_reboot: bool = False) -> None:
        """Reset the instance, or ask it to reboot. A stopped instance is started."""
        owner = _own(server)
        self.storage.check_current()
        self._pool.drop(owner)
        self.cloud.compute.reboot_instance(server[INSTANCE_ID], soft=soft_reboot)

    def wait_for_instance_to_be_active(self, instance_id: str, timeout: float) -> Instance:
        """Return when it is active. Raises ``ServiceInstanceException`` if it fails."""
        try:
            return self.cloud.compute.wait_for_instance(instance_id, timeout)
        except CloudUnavailable:
            raise
        except CloudError as error:
            raise ServiceInstanceException(
                f"The service instance did not become active: {error}",
                public=f"The service instance did not become active. {error.public}",
            ) from error

    # --- beyond the contract ----------------------------------------------------------------

    def replace_service_instance(
        self,
        context: object,
        server: ServerDetails,
        serve: Callable[[dict[str, str]], None] = lambda details: None,
        on_active: OnActive = nothing,
        stand_in: str | None = None,
    ) -> dict[str, str]:
        """Replace a dead instance by another one, at the same addresses for clients.

        It is the instance of the warm share server ``stand_in``, if that is given and answers, and
        else a new one, which takes as long as a boot.

        ``server`` has the details of the dead one. The caller stores those that are returned.
        ``serve`` is called with them, to serve the shares again before clients can reach the new
        instance: an NFS server that answers without exports would make clients fail instead of
        wait. The new instance is made only when it is proved that the dead one has ended, so that
        no volume has two writers. ``on_active`` is as in ``set_up_service_instance``.

        Raises ``InstanceMayStillRun`` if that can't be proved.
        """
        owner = _own(server)
        server_id = server["server_id"]
        # An interrupted replacement has stored another id. Then only the rest is left to do.
        if self.storage.get(owner, INSTANCE_ID) == server[INSTANCE_ID]:
            self.fence.end(owner, server[INSTANCE_ID])
            self.network_helper.shut_clients_out(server_id)
            self._stand_ins.use(owner, stand_in)
        # Closing the channel earlier would thaw the file systems frozen for this.
        self._pool.drop(owner)
        network_info: NetworkInfo = {"server_id": server_id}  # the stored ports say which networks
        ports = self._ports(network_info)
        details = self._boot(network_info, ports, (ports.management.id,), on_active)
        serve(details)
        instance = self.wait_for_instance_to_be_active(details[INSTANCE_ID], ANSWER_SECONDS)
        guest = self.guest(details, FIRST_ANSWER_SECONDS)
        # The grace period, in which clients reclaim their locks, begins when the NFS server starts.
        guest.start_nfs()
        clients_port = ports.public or ports.management
        self._plug_in(instance, (clients_port.id,))
        self.cloud.compute.connect_ports(instance.id, CONNECT_SECONDS)
        self.network_helper.let_clients_in(server_id)
        guest.notify_clients()
        self._remove_unused_state(owner)
        return details

    def start_nfs(self, server: ServerDetails) -> None:
        """Have the instance's NFS server run, with the server's state.

        It does not start by itself if its volume was not attached when the instance booted.
        """
        self._states.provide(server["server_id"])
        guest = self.guest(server)
        self._states.keep(server["server_id"], server[INSTANCE_ID], guest, FIRST_ANSWER_SECONDS)
        guest.start_nfs()

    # --- steps of set-up --------------------------------------------------------------------

    def _boot(
        self,
        network_info: NetworkInfo,
        ports: InstancePorts,
        plugged: tuple[str, ...],
        on_active: OnActive,
    ) -> dict[str, str]:
        """Find or make the instance with the ports ``plugged``. Returns its details."""
        server_id = network_info["server_id"]
        instance_id = self._builder.provide(network_info, plugged).id

        def while_it_boots() -> None:
            if network_info.get("neutron_net_id"):  # clients of a replacement are let in last
                self.network_helper.let_clients_in(server_id)
            limit = self.options.max_time_to_build_instance
            self._states.provide(server_id, network_info.get("availability_zone") or "")
            self._plug_in(self.wait_for_instance_to_be_active(instance_id, limit), plugged)
            on_active(instance_id)
            self._states.begin_attaching(server_id, instance_id)
            self.cloud.compute.connect_ports(instance_id, CONNECT_SECONDS)

        self._await_boot(self._details(server_id, instance_id, ports), while_it_boots)
        return self._details(server_id, instance_id, ports)  # these have the router's id

    def _ports(self, network_info: NetworkInfo) -> InstancePorts:
        """Make the server's ports, or find them.

        Atoll reaches an instance that stands in at the port that it was made with. A stand-in that
        does not answer is given up.
        """
        owner = server_key(network_info["server_id"])
        ports = self.network_helper.setup_network(network_info)
        stand_in = self._stand_ins.of(owner)
        if stand_in is None:
            return ports
        theirs = self.network_helper.setup_network({"server_id": stand_in})
        mixed = InstancePorts(theirs.management, ports.public or ports.management)
        instance_id = self.storage.get(owner, INSTANCE_ID) or ""
        try:
            details = self._details(network_info["server_id"], instance_id, mixed)
            self._pool.hand_over(server_key(stand_in), owner)
            self._log_in_to_stand_in(owner, details)
        except GuestUnreachable as error:
            log.warning("stand_in_failed", instance=instance_id, error=str(error))
            self._give_up(owner, instance_id)
            return ports
        return mixed

    def _log_in_to_stand_in(self, owner: str, details: ServerDetails) -> None:
        """Return when it answers. Raises ``GuestUnreachable`` if it seems to be dead."""
        try:
            self.guest(details, STAND_IN_SECONDS).health(deadline=STAND_IN_SECONDS)
        except GuestUnreachable:
            if not self.serves_nfs(details):
                raise
            self._pool.end_pause(owner)
            self.guest(details, 2 * STAND_IN_SECONDS).health(deadline=STAND_IN_SECONDS)

    def _remove_unused_state(self, owner: str) -> None:
        """Remove the state volume of the server whose instance is used, and keeps another state.

        It is removed with that server at the latest, so an error is no reason to replace again an
        instance that serves.
        """
        stand_in = self._stand_ins.of(owner)
        if stand_in is None:
            return
        try:
            self._states.remove(stand_in)
        except CloudError as error:
            log.warning("unused_state_kept", share_server_id=stand_in, error=str(error))

    def _give_up(self, owner: str, instance_id: str) -> None:
        """End an instance that does not answer, so that the next one is a new one."""
        self._pool.drop(owner)
        self.fence.end(owner, instance_id)
        self._stand_ins.use(owner, None)

    def _plug_in(self, instance: Instance, port_ids: Iterable[str]) -> None:
        for port_id in port_ids:
            if port_id not in instance.port_ids:
                self.cloud.compute.attach_port(instance.id, port_id)

    def _details(self, server_id: str, instance_id: str, ports: InstancePorts) -> dict[str, str]:
        public = ports.public_addresses
        return {
            "server_id": server_id,
            INSTANCE_ID: instance_id,
            IMAGE_ID: self.storage.get(server_key(server_id), IMAGE_ID) or "",
            "username": self.options.service_instance_user,
            "ip": ports.management.addresses[0],
            "public_address": public[0] if public else "",
            "public_addresses": ",".join(public),
            **self.network_helper.details(server_id),
        }

    def _await_boot(self, details: ServerDetails, while_it_boots: Callable[[], None]) -> None:
        """Wait until the agent answers. An instance whose agent doesn't is deleted."""
        owner = server_key(details["server_id"])
        instance_id = details[INSTANCE_ID]
        limit = self.options.max_time_to_build_instance
        try:
            with timed("service_instance_answers", instance=instance_id, share_server=owner):
                while_it_boots()
                guest = self.guest(details, limit)
                self._states.keep(details["server_id"], instance_id, guest, FIRST_ANSWER_SECONDS)
        except (ServiceInstanceException, GuestUnreachable) as error:
            log.warning(
                "service_instance_failed",
                instance=instance_id,
                share_server=owner,
                error=str(error),
                console=self._console(instance_id),
            )
            self._give_up(owner, instance_id)
            if isinstance(error, ServiceInstanceException):
                raise
            raise ServiceInstanceException(
                f"The service instance did not come up within {limit:g} seconds: {error}",
                public="The service instance did not come up in time.",
            ) from error
        InstanceKeys(self.storage, owner).settle()

    def _console(self, instance_id: str) -> str:
        try:
            return self.cloud.compute.console(instance_id)
        except AtollError as error:
            return f"(no console: {error})"


def _own(server: ServerDetails) -> str:
    """Key of an instance that Atoll has made. Raises an error for the common server."""
    if not server.get("server_id"):
        raise ServiceInstanceException(
            public="The common server is not Atoll's to reboot, replace or delete. "
            "The administrator who made it can.",
        )
    return server_key(server["server_id"])
