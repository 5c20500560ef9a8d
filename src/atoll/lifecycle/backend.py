"""What all handlers work with: the database, the cloud, and a driver for each operation."""

from __future__ import annotations

from typing import Any

import structlog

from atoll.cloud.base import Cloud
from atoll.config import Settings
from atoll.db.database import Database
from atoll.driver.generic import GenericShareDriver
from atoll.driver.service_instance import ServiceInstanceManager
from atoll.driver.timing import timed
from atoll.engine.operation import Operation
from atoll.errors import AtollError
from atoll.guest.pool import GuestPool
from atoll.lifecycle.seal import Seal
from atoll.lifecycle.silence import Silences
from atoll.lifecycle.storage import DatabaseStorage
from atoll.lifecycle.witness import Witness
from atoll.model.keys import server_key, split

log = structlog.get_logger(__name__)


class Backend:
    """The back end of a worker process, shared by all threads."""

    def __init__(self, settings: Settings, database: Database, cloud: Cloud, seal: Seal) -> None:
        self.settings = settings
        self.database = database
        self.cloud = cloud
        self._seal = seal
        self._pool = GuestPool()
        self.silences = Silences()
        self.witness = Witness(database, settings.witness)
        self._pools: list[dict[str, Any]] | None = None

    def set_up(self) -> None:
        """Prepare the cloud (libvirt, image, service network) before the first share needs it.

        Errors are only logged here, because each operation makes what it needs and tells its user.
        """
        driver = self.driver(None)
        try:
            with timed("worker.set_up"):
                driver.do_setup(None)
                driver.check_for_setup_error()
        except AtollError as error:
            log.warning("worker.set_up_failed", error=str(error))

    def driver(self, operation: Operation | None) -> GenericShareDriver:
        """A driver whose writes carry this operation's fence; with None it can only read."""
        storage = DatabaseStorage(self.database, self._seal, operation)
        manager = ServiceInstanceManager(
            self.settings.driver,
            cloud=self.cloud,
            storage=storage,
            pool=self._pool,
        )
        return GenericShareDriver(
            configuration=self.settings.driver,
            cloud=self.cloud,
            storage=storage,
            service_instance_manager=manager,
            max_over_subscription_ratio=self.settings.max_over_subscription_ratio,
        )

    def look(self) -> list[dict[str, Any]]:
        """Ask the cloud for its pools: ``{"name": …, "capabilities": {…}}``, as the API shows them.

        Only this method names pools, and so determines the ``host`` of shares.
        """
        stats = self.driver(None).get_share_stats(refresh=True)
        self._pools = [
            {"name": f"{self.settings.backend_host}#{pool['pool_name']}", "capabilities": pool}
            for pool in stats.get("pools", [])
        ]
        return self._pools

    def ping(self) -> dict[str, bool]:
        """Whether each instance with a channel has given a sign of life since the last call.

        The keys are those of share servers; the common server is left out.
        """
        signs = self._pool.ping()
        return {key: alive for key, alive in signs.items() if key.startswith(server_key(""))}

    def lost(self, key: str, seconds: float) -> None:
        """Close the channel to a server that has given no sign of life for some seconds."""
        self._pool.forget(key)
        self.silences.begin(split(key)[1], seconds)

    def pools(self) -> list[dict[str, Any]]:
        """The pools that were seen last. Asks the cloud if there are none yet."""
        return self._pools if self._pools is not None else self.look()

    def remove_network(self, operation: Operation, owner: str, network_id: str | None) -> None:
        """Remove a network that Atoll made for ``owner``, even if its id was never stored."""
        for network in self.cloud.networks.list_networks():
            if network.owner == owner or network.id == network_id:
                operation.check_fence()
                self.cloud.networks.delete_network(network.id)

    def close(self) -> None:
        """Close the channels to the service instances, which continue to serve."""
        self._pool.close()
        self.cloud.close()
