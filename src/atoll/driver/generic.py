"""``GenericShareDriver``: a share is a volume that a service instance mounts and exports.

Each verb makes or finds the volume, attaches it to the instance, and then has the guest agent do
the rest by one call (file system, mount, size, exports, access rules). Every step first checks
whether it is done already, so a verb that was interrupted is simply run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from atoll.cloud.base import Cloud
from atoll.config import Driver as DriverOptions
from atoll.driver.base import ShareDriver
from atoll.driver.ensure import ensure_server, server_details
from atoll.driver.fence import INSTANCE_ID
from atoll.driver.freeze import frozen, hold_still
from atoll.driver.protocols import HELPERS
from atoll.driver.resources import (
    ExportLocation,
    NetworkInfo,
    RuleUpdate,
    ServerDetails,
    SnapshotUpdate,
    fence_of,
)
from atoll.driver.service_instance import OnActive, ServiceInstanceManager, nothing
from atoll.driver.serving import ShareServing
from atoll.driver.snapshots import ShareSnapshots
from atoll.driver.stats import share_stats
from atoll.driver.storage import PrivateStorage
from atoll.driver.volumes import ShareVolumes
from atoll.driver.wanted import WantedShares
from atoll.errors import (
    AtollError,
    ConfigurationError,
    GuestError,
    ShareBackendException,
    StaleFence,
)
from atoll.guest.base import ExportRule, Health, ShareUsage
from atoll.model.keys import snapshot_key
from atoll.model.records import AccessRule, Share, ShareServer, Snapshot
from atoll.model.states import ShareStatus

SERVED_AT_ONCE = 8
"""How many shares of an instance are attached and exported at a time when all of them are."""


class GenericShareDriver(ShareDriver):
    """The contract's driver, on the cloud and guest ports.

    It has no state; make one per operation.
    """

    def __init__(
        self,
        *,
        cloud: Cloud,
        storage: PrivateStorage,
        service_instance_manager: ServiceInstanceManager,
        configuration: DriverOptions | None = None,
        max_over_subscription_ratio: float = 20.0,
    ) -> None:
        self.configuration = configuration or DriverOptions()
        self.driver_handles_share_servers = self.configuration.driver_handles_share_servers
        self.service_instance_manager = service_instance_manager
        self._cloud = cloud
        self._snapshots = ShareSnapshots(cloud, storage)
        self._wanted = WantedShares(self.configuration, storage)
        self._volumes = ShareVolumes(
            cloud, storage, self.configuration, self._snapshots, self._wanted.path
        )
        self._serving = ShareServing(cloud, service_instance_manager, self._volumes, self._wanted)
        self._max_over_subscription_ratio = max_over_subscription_ratio

    # --- setting up -------------------------------------------------------------------------

    def do_setup(self, context: object) -> None:
        """Connect this host to the service network, or check that the common server answers."""
        manager = self.service_instance_manager
        if self.driver_handles_share_servers:
            manager.network_helper.setup_connectivity_with_service_instances()
        else:
            manager.reach(manager.get_common_server()).start_nfs(with_state=False)

    def check_for_setup_error(self) -> None:
        """Raise ``ConfigurationError`` for impossible options, or ``CloudNotFound`` without an
        image.
        """
        unknown = set(self.configuration.enabled_share_protocols) - set(HELPERS)
        if unknown or not self.configuration.enabled_share_protocols:
            raise ConfigurationError(f"enabled_share_protocols: choose from {', '.join(HELPERS)}.")
        if self.driver_handles_share_servers:
            self.service_instance_manager.network_helper.check_for_setup_error()
            self._cloud.images.service_image()

    def _update_share_stats(self, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        pools = self._cloud.volumes.pools()
        stats = share_stats(self.configuration, pools, self._max_over_subscription_ratio)
        return stats | dict(data or {})

    # --- share servers ----------------------------------------------------------------------

    def setup_server(
        self,
        network_info: NetworkInfo | Sequence[NetworkInfo],
        metadata: Any = None,
        on_active: OnActive = nothing,
    ) -> dict[str, str]:
        """Make a share server. Returns its details, which the caller stores.

        ``on_active`` is called with the instance's id when ``prepare_share`` can attach volumes to
        it.
        """
        return self._setup_server(network_info, metadata, on_active)

    def _setup_server(
        self,
        network_info: NetworkInfo | Sequence[NetworkInfo],
        metadata: Any = None,
        on_active: OnActive = nothing,
    ) -> dict[str, str]:
        """Make one service instance. Of several subnets, the first is used."""
        info = network_info if isinstance(network_info, Mapping) else network_info[0]
        return self.service_instance_manager.set_up_service_instance(None, info, on_active)

    def _teardown_server(
        self,
        server_details: ServerDetails,
        security_services: Any = None,
    ) -> None:
        if server_details.get("server_id"):
            self.service_instance_manager.delete_service_instance(None, server_details)

    def hold_still(self, share_server: ShareServer, share_ids: Iterable[str]) -> None:
        """Freeze these shares before the server's instance is replaced on purpose."""
        guest = self.service_instance_manager.reach(self._details(share_server))
        paths = {share_id: self._wanted.path(share_id) for share_id in share_ids}
        hold_still(guest, paths, self.configuration.freeze_seconds)

    # --- shares -----------------------------------------------------------------------------

    def prepare_share(self, context: object, share: Share, instance_id: str = "") -> None:
        """Make the share's volume, and attach it, as far as possible while its instance boots.

        Without ``instance_id`` a volume that was made earlier is not looked for: the verb that
        serves the share does that. An instance that doesn't take the volume is not an error here,
        because serving the share tries again.
        """
        self._wanted.check_protocol(share)
        if not instance_id and self._volumes.is_known(share["id"]):
            return
        volume = self._volumes.provide(share, share.get("snapshot_id"))
        if instance_id:
            self._serving.plug_in_early(volume, instance_id)

    def plug_in_early(self, share_ids: Iterable[str], instance_id: str) -> None:
        """Have these shares' volumes attached to an instance that boots to replace another."""
        for share_id in share_ids:
            volume = self._volumes.find(share_id)
            if volume is not None:
                self._serving.plug_in_early(volume, instance_id)

    def _details(self, share_server: ShareServer | None) -> ServerDetails:
        return server_details(self.service_instance_manager, share_server)

    @ensure_server
    def create_share(
        self, context: object, share: Share, share_server: ShareServer | None = None
    ) -> list[ExportLocation]:
        """Make and export a share with an empty file system. Returns its export locations."""
        self._wanted.check_protocol(share)
        details = self._details(share_server)
        volume = self._volumes.provide(share)
        self._serving.serve(context, share, volume, details, may_format=True)
        return self._wanted.export_locations(share, details)

    @ensure_server
    def create_share_from_snapshot(
        self,
        context: object,
        share: Share,
        snapshot: Snapshot,
        share_server: ShareServer | None = None,
        parent_share: Share | None = None,
    ) -> dict[str, Any]:
        """Make and export a share with the snapshot's content, grown to the share's size."""
        self._wanted.check_protocol(share)
        details = self._details(share_server)
        volume = self._volumes.provide(share, snapshot["id"])
        self._serving.serve(context, share, volume, details)
        return {
            "status": ShareStatus.AVAILABLE,
            "export_locations": self._wanted.export_locations(share, details),
        }

    @ensure_server
    def ensure_share(
        self, context: object, share: Share, share_server: ShareServer | None = None
    ) -> list[ExportLocation]:
        """Have the share attached, mounted and exported to ``share["access_rules"]``.

        It never formats anything. Raises ``VolumeLost`` if the share's volume is gone.
        """
        details = self._details(share_server)
        volume = self._volumes.of(share["id"])
        self._serving.serve(context, share, volume, details)
        return self._wanted.export_locations(share, details)

    def ensure_shares(self, context: object, shares: Iterable[Share]) -> dict[str, dict[str, Any]]:
        """``ensure_share`` for many shares, some at a time: a slow volume delays few others.

        A share that fails is reported, and the others go on. An instance that does not answer is
        asked once, not once for each share.
        """

        def ensure(share: Share) -> tuple[str, dict[str, Any]]:
            try:
                locations = self.ensure_share(context, share, share_server=share["share_server"])
            except AtollError as error:
                return share["id"], {"status": ShareStatus.ERROR, "reason": str(error)}
            return share["id"], {"status": ShareStatus.AVAILABLE, "export_locations": locations}

        with ThreadPoolExecutor(SERVED_AT_ONCE, thread_name_prefix="serve") as pool:
            # Each thread needs a copy of its own of what is bound to the operation's log lines.
            work = [pool.submit(copy_context().run, ensure, share) for share in shares]
            return dict(each.result() for each in work)

    def delete_share(
        self, context: object, share: Share, share_server: ShareServer | None = None
    ) -> None:
        """Stop serving the share, and delete its volume and what is stored of it.

        The share may be gone already. If its instance is off or gone, there is nothing to stop. One
        that hangs still has the volume. Then it raises ``ServiceInstanceUnavailable``, to be tried
        again after the repair.
        """
        share_id = share["id"]
        guest = self._serving.guest_unless_off(share_id, share_server)
        if guest is not None:
            guest.remove_share(share_id, self._wanted.path(share_id), fence=fence_of(context))
        self._volumes.remove(share_id)

    @ensure_server
    def extend_share(
        self,
        context: object,
        share: Share,
        new_size: int,
        share_server: ShareServer | None = None,
    ) -> None:
        """Grow volume and file system to ``new_size`` GiB while clients use the share."""
        volume = self._volumes.of(share["id"])
        self._cloud.volumes.extend_volume(volume.id, new_size)
        grown = replace(volume, size_gib=max(volume.size_gib, new_size))
        self._serving.serve(context, share, grown, self._details(share_server))

    @ensure_server
    def update_access(
        self,
        context: object,
        share: Share,
        access_rules: Sequence[AccessRule],
        add_rules: Sequence[AccessRule],
        delete_rules: Sequence[AccessRule],
        update_rules: Sequence[AccessRule] = (),
        share_server: ShareServer | None = None,
    ) -> dict[str, RuleUpdate] | None:
        """Let in exactly the clients of ``access_rules``. The agent finds the difference itself.

        Therefore rules to add that exist already, rules to delete that were never applied, and
        recovery (both lists empty) need no special treatment. A rule that the protocol or the
        server software doesn't support is reported as ``error``, and the others are applied.
        """
        share_id, details = share["id"], self._details(share_server)
        verdict = self._wanted.verdict(share, access_rules)
        file_system = self._volumes.file_system(share_id)
        wish = self._wanted.wish(share, self._volumes.volume_id(share_id), file_system, verdict)
        try:
            applied = self._serving.apply(context, wish, details)
        except StaleFence:
            raise
        except GuestError:
            # The error is expected only if the volume isn't attached any more.
            volume = self._volumes.of(share_id)
            if volume.instance_id == details[INSTANCE_ID]:
                raise
            self._serving.attach(volume, details)
            applied = self._serving.apply(context, wish, details)
        return verdict.updates(applied.rejected_rules) or None

    # --- how shares are ---------------------------------------------------------------------

    def differences(self, share: Share, health: Health) -> str:
        """What is wrong with how the share is served, as a sentence, or an empty string.

        ``health`` is the instance's answer for all of its shares, so that a reconcile pass asks
        each instance once. Without ``access_rules`` the share's exports are not compared.
        """
        return self._wanted.differences(share, health)

    def admitted(
        self, share: Share, share_server: ShareServer | None = None
    ) -> tuple[ExportRule, ...] | None:
        """The clients that the share's instance admits now; None if it never served the share."""
        found = self.service_instance_manager.ask(
            self._details(share_server), lambda guest: guest.admitted(share["id"])
        )
        return found.rules if found.known else None

    def exports(self, share: Share, access_rules: Iterable[AccessRule]) -> tuple[ExportRule, ...]:
        """The clients that should be admitted by these rules."""
        return self._wanted.verdict(share, access_rules).exports

    def get_share_usage(
        self,
        context: object,
        share_server: ShareServer | None = None,
    ) -> dict[str, ShareUsage]:
        """Size and used bytes by share id, for all shares of a server by one request."""
        usages = self.service_instance_manager.ask(
            self._details(share_server), lambda guest: guest.usage()
        )
        return {usage.share_id: usage for usage in usages}

    # --- snapshots --------------------------------------------------------------------------

    def create_snapshot(
        self, context: object, snapshot: Snapshot, share_server: ShareServer | None = None
    ) -> SnapshotUpdate:
        """Copy the volume while its file system is frozen, so that the copy is consistent.

        Raises ``SnapshotInconsistent`` (try again) if the freeze ended before the copy was made.
        """
        share_id = snapshot["share_id"]
        volume = self._volumes.of(share_id)
        guest = None
        if volume.instance_id:  # one in error may still write
            guest = self._serving.guest_unless_off(share_id, share_server, or_failed=False)
        path, seconds = self._wanted.path(share_id), self.configuration.freeze_seconds
        still = frozen(guest, share_id, path, seconds, snapshot_key(snapshot["id"]))
        file_system = self._volumes.file_system(share_id)
        made = self._snapshots.take(snapshot["id"], volume, file_system, still)
        return {"provider_location": made.id, "size": made.size_gib}

    def delete_snapshot(
        self,
        context: object,
        snapshot: Snapshot,
        share_server: ShareServer | None = None,
    ) -> None:
        """Remove the snapshot. Shares made from it stay. It may be gone already."""
        self._snapshots.remove(snapshot["id"])

    def manage_existing_snapshot(
        self,
        snapshot: Snapshot,
        driver_options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Take over the volume snapshot ``provider_location``, if it is of the share's volume."""
        found = self._cloud.volumes.get_snapshot(snapshot.get("provider_location") or "")
        if found is None or found.volume_id != self._volumes.volume_id(snapshot["share_id"]):
            raise ShareBackendException(
                public="The share has no such volume snapshot. provider_location names a snapshot "
                "of the share's volume.",
            )
        file_system = self._volumes.file_system(snapshot["share_id"])
        self._snapshots.adopt(snapshot["id"], found, file_system)
        return {"size": found.size_gib, "provider_location": found.id}

    def unmanage_snapshot(self, snapshot: Snapshot) -> None:
        """Stop managing the snapshot, without changing it."""
        self._snapshots.forget(snapshot["id"])
