"""``GenericShareDriver``: a share is a volume that a service instance mounts and exports.

Each verb reads the same way: the volume is there, it is plugged into the instance, and one call to
the guest agent makes the rest true (file system, mount, size, exports, access rules). What is done
already costs a look, so a verb that was interrupted is simply run again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from atoll.cloud.base import Cloud, Volume
from atoll.config import Driver as DriverOptions
from atoll.driver.access import Verdict, judge
from atoll.driver.base import ShareDriver
from atoll.driver.exports import HELPERS, helper_for
from atoll.driver.freeze import frozen
from atoll.driver.resources import (
    AccessRule,
    ExportLocation,
    NetworkInfo,
    RuleUpdate,
    ServerDetails,
    Share,
    ShareServer,
    Snapshot,
    fence_of,
    file_system_id,
    option,
    snapshot_key,
)
from atoll.driver.service_instance import INSTANCE_ID, ServiceInstanceManager
from atoll.driver.stats import share_stats
from atoll.driver.storage import PrivateStorage
from atoll.driver.volumes import SNAPSHOT_ID, ShareVolumes
from atoll.errors import (
    AtollError,
    ConfigurationError,
    DeviceNotBlank,
    GuestError,
    GuestUnreachable,
    NotFound,
    ServiceInstanceException,
    ServiceInstanceUnavailable,
    SnapshotInconsistent,
    StaleFence,
)
from atoll.guest.base import (
    AppliedShare,
    FileSystem,
    Guest,
    Health,
    ShareUsage,
    Squash,
    WantedShare,
    digest,
)

COMPLETE = "complete"

P = ParamSpec("P")
R = TypeVar("R")
DriverMethod = Callable[Concatenate["GenericShareDriver", object, P], R]


def ensure_server(method: DriverMethod[P, R]) -> DriverMethod[P, R]:
    """The method runs only if its share server serves; else ``ServiceInstanceUnavailable``.

    Where an open channel says that it does, this costs nothing.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def ensured(
        self: GenericShareDriver, context: object, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        call = signature.bind(self, context, *args, **kwargs)
        details = server_details(call.arguments.get("share_server"))
        self.service_instance_manager.ensure_service_instance(context, details)
        return method(self, context, *args, **kwargs)

    return ensured


def server_details(share_server: ShareServer | None) -> ServerDetails:
    """What is known of a share server's instance."""
    details = (share_server or {}).get("backend_details") or {}
    if not details.get(INSTANCE_ID):
        raise ServiceInstanceException(
            "The share has no share server that is set up.",
            hint="This back end always handles share servers: give the share a share network.",
        )
    return cast(ServerDetails, details)


class GenericShareDriver(ShareDriver):
    """The contract's driver, on the cloud and guest ports. Keeps no state; one an operation."""

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
        self.service_instance_manager = service_instance_manager
        self._cloud = cloud
        self._storage = storage
        self._volumes = ShareVolumes(cloud, storage, self.configuration)
        self._max_over_subscription_ratio = max_over_subscription_ratio

    # --- setting up -------------------------------------------------------------------------

    def do_setup(self, context: object) -> None:
        """Connect this host to the service network."""
        helper = self.service_instance_manager.network_helper
        helper.setup_connectivity_with_service_instances()

    def check_for_setup_error(self) -> None:
        """Raise ``ConfigurationError`` for protocols that aren't there, or an absent image."""
        unknown = set(self.configuration.enabled_share_protocols) - set(HELPERS)
        if unknown or not self.configuration.enabled_share_protocols:
            raise ConfigurationError(f"enabled_share_protocols: choose from {', '.join(HELPERS)}.")
        self._cloud.images.service_image()

    def _update_share_stats(self, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        pools = self._cloud.volumes.pools()
        stats = share_stats(self.configuration, pools, self._max_over_subscription_ratio)
        return stats | dict(data or {})

    def get_backend_info(self, context: object) -> dict[str, Any]:
        """Options that exports depend on."""
        return {
            "share_mount_path": self.configuration.share_mount_path,
            "service_instance_user": self.configuration.service_instance_user,
            "cloud": self._cloud.name,
        }

    # --- share servers ----------------------------------------------------------------------

    def _setup_server(
        self,
        network_info: NetworkInfo | Sequence[NetworkInfo],
        metadata: Any = None,
    ) -> dict[str, str]:
        """One service instance; of several subnets the first counts."""
        info = network_info if isinstance(network_info, Mapping) else network_info[0]
        return self.service_instance_manager.set_up_service_instance(None, info)

    def _teardown_server(
        self,
        server_details: ServerDetails,
        security_services: Any = None,
    ) -> None:
        if server_details.get("server_id"):
            self.service_instance_manager.delete_service_instance(None, server_details)

    def choose_share_server_compatible_with_share(
        self,
        context: object,
        share_servers: Sequence[ShareServer],
        share: Share,
        snapshot: Snapshot | None = None,
        share_group: Any = None,
    ) -> ShareServer | None:
        """An active server with room, else one that is being made; None asks for a new one.

        The fullest is taken, so that emptied servers can go.
        """
        limit = self.configuration.max_shares_per_share_server
        fitting = [
            server
            for server in share_servers
            if server.get("status", "active") in ("active", "creating")
            and not server.get("unhealthy_since")
            and (server.get("share_count") or 0) < limit
        ]
        return max(
            fitting,
            key=lambda server: (
                server.get("status", "active") == "active",
                server.get("share_count") or 0,
            ),
            default=None,
        )

    # --- shares -----------------------------------------------------------------------------

    def prepare_share(self, context: object, share: Share) -> None:
        """Make the share's volume: all that can be done while its instance still boots."""
        helper_for(share["share_proto"], self.configuration.enabled_share_protocols)
        self._volumes.provide(share, share.get("snapshot_id"))

    @ensure_server
    def create_share(
        self, context: object, share: Share, share_server: ShareServer | None = None
    ) -> list[ExportLocation]:
        """Volume, file system, mount, export; returns the export locations."""
        helper_for(share["share_proto"], self.configuration.enabled_share_protocols)
        volume = self._volumes.provide(share)
        self._serve(context, share, volume, share_server, may_format=True)
        return self._export_locations(share, share_server)

    @ensure_server
    def create_share_from_snapshot(
        self,
        context: object,
        share: Share,
        snapshot: Snapshot,
        share_server: ShareServer | None = None,
        parent_share: Share | None = None,
    ) -> dict[str, Any]:
        """The same with the snapshot's content, grown to the share's size."""
        helper_for(share["share_proto"], self.configuration.enabled_share_protocols)
        volume = self._volumes.provide(share, snapshot["id"])
        self._serve(context, share, volume, share_server)
        return {
            "status": "available",
            "export_locations": self._export_locations(share, share_server),
        }

    @ensure_server
    def ensure_share(
        self, context: object, share: Share, share_server: ShareServer | None = None
    ) -> list[ExportLocation]:
        """Plugged in, mounted, exported to ``share["access_rules"]``. Never formats anything.

        Raises ``VolumeLost`` when there is nothing left to serve.
        """
        volume = self._volumes.of(share["id"])
        self._serve(context, share, volume, share_server)
        return self._export_locations(share, share_server)

    def ensure_shares(self, context: object, shares: Iterable[Share]) -> dict[str, dict[str, Any]]:
        """``ensure_share`` of many; one that fails is in the answer, and stops no other.

        An instance that does not answer is asked once, not once a share.
        """
        updates: dict[str, dict[str, Any]] = {}
        for share in shares:
            try:
                locations = self.ensure_share(context, share, share_server=share["share_server"])
            except AtollError as error:
                updates[share["id"]] = {"status": "error", "reason": str(error)}
            else:
                updates[share["id"]] = {"status": "available", "export_locations": locations}
        return updates

    def delete_share(
        self, context: object, share: Share, share_server: ShareServer | None = None
    ) -> None:
        """Stop serving it, destroy its volume, forget it. Absent is fine.

        An instance that is off, or gone, has nothing to stop. One that hangs still holds the
        volume: ``ServiceInstanceUnavailable``, to be tried again when it is mended.
        """
        guest = self._guest_unless_off(share_server)
        if guest is not None:
            guest.remove_share(share["id"], self._path(share["id"]), fence=fence_of(context))
        self._volumes.remove(share["id"])

    @ensure_server
    def extend_share(
        self,
        context: object,
        share: Share,
        new_size: int,
        share_server: ShareServer | None = None,
    ) -> None:
        """Grow volume and file system to ``new_size`` GiB while clients go on."""
        volume = self._volumes.of(share["id"])
        self._cloud.volumes.extend_volume(volume.id, new_size)
        self._serve(context, share, volume, share_server)

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
        """Let in exactly whom ``access_rules`` name: the agent finds the difference itself.

        So additions that are there already and deletions of what was never applied are no special
        case, and recovery (both lists empty) is no other mode. A rule that the protocol or the
        server software can't have becomes that rule's ``error``; the others are applied.
        """
        verdict = self._judge(share, access_rules)
        wanted = self._wanted(share, self._volumes.volume_id(share["id"]), verdict)
        try:
            applied = self._apply(context, wanted, share_server)
        except (GuestUnreachable, StaleFence, DeviceNotBlank):
            raise
        except GuestError:
            # The one good reason to fail is a volume that isn't plugged in any more.
            volume = self._volumes.of(share["id"])
            if volume.instance_id == server_details(share_server)[INSTANCE_ID]:
                raise
            self._attach(volume, share_server)
            applied = self._apply(context, wanted, share_server)
        return verdict.updates(applied.rejected_rules) or None

    # --- how shares are ---------------------------------------------------------------------

    def differences(self, share: Share, health: Health) -> str:
        """What is wrong with how the share is served, for people; empty if nothing is.

        ``health`` is one answer of the instance for all of its shares, so that a reconcile pass
        asks each instance once. Needs ``share["access_rules"]``.
        """
        served = next((one for one in health.shares if one.share_id == share["id"]), None)
        if served is None or not served.mounted:
            return "It is not mounted."
        verdict = self._judge(share, share["access_rules"])
        if not served.exported and verdict.exports:
            return "It is not exported."
        if served.rules_digest != digest(verdict.exports, self._squash(share)):
            return "Its exports don't match its access rules."
        return ""

    def get_share_usage(
        self,
        context: object,
        share_server: ShareServer,
    ) -> dict[str, ShareUsage]:
        """Share id → size and used bytes, of all shares of a server in one round trip."""
        guest = self.service_instance_manager.guest(server_details(share_server))
        return {usage.share_id: usage for usage in guest.usage()}

    def update_share_usage_size(
        self, context: object, shares: Iterable[Share]
    ) -> list[dict[str, Any]]:
        """``id`` and ``used_size`` (GiB) of each share whose server answers."""
        wanted = {share["id"]: share["share_server"] for share in shares}
        servers = {server["id"]: server for server in wanted.values()}
        updates = []
        for server in servers.values():
            try:
                usages = self.get_share_usage(context, server)
            except GuestError:
                continue
            updates += [
                {"id": share_id, "used_size": usage.used_bytes / (1 << 30)}
                for share_id, usage in usages.items()
                if share_id in wanted
            ]
        return updates

    # --- snapshots --------------------------------------------------------------------------

    def create_snapshot(
        self, context: object, snapshot: Snapshot, share_server: ShareServer | None = None
    ) -> dict[str, Any]:
        """Copy the volume while its file system is frozen, so that the copy is consistent.

        Raises ``SnapshotInconsistent`` (try again) when the freeze ended before the copy was done.
        """
        share_id, key = snapshot["share_id"], snapshot_key(snapshot["id"])
        if self._storage.get(key, COMPLETE):
            made = self._volumes.find_snapshot(snapshot["id"])
            if made is not None:
                return {"provider_location": made.id, "size": made.size_gib}
        # Of a copy that an interrupted try has left nobody knows whether its freeze held.
        self._volumes.remove_snapshot(snapshot["id"])
        volume = self._volumes.of(share_id)
        taken = None
        try:
            with frozen(
                self._guest_unless_off(share_server) if volume.instance_id else None,
                share_id,
                self._path(share_id),
                self.configuration.freeze_seconds,
            ):
                taken = self._volumes.take_snapshot(snapshot["id"], volume, share_id)
        except SnapshotInconsistent:
            self._volumes.remove_snapshot(snapshot["id"])
            raise
        self._storage.update(key, {COMPLETE: "yes"})
        return {"provider_location": taken.id, "size": taken.size_gib}

    def delete_snapshot(
        self,
        context: object,
        snapshot: Snapshot,
        share_server: ShareServer | None = None,
    ) -> None:
        """Remove the snapshot; shares made from it stay. Absent is fine."""
        self._volumes.remove_snapshot(snapshot["id"])

    def manage_existing_snapshot(
        self,
        snapshot: Snapshot,
        driver_options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Take over the volume snapshot ``provider_location``, if it is of the share's volume."""
        found = self._cloud.volumes.get_snapshot(snapshot.get("provider_location") or "")
        if found is None or found.volume_id != self._volumes.volume_id(snapshot["share_id"]):
            raise NotFound(
                "The share has no such volume snapshot.",
                hint="provider_location names a snapshot of the share's volume.",
            )
        file_system = self._volumes.file_system(snapshot["share_id"])
        self._storage.update(
            snapshot_key(snapshot["id"]),
            {SNAPSHOT_ID: found.id, "file_system": file_system, COMPLETE: "yes"},
        )
        return {"size": found.size_gib, "provider_location": found.id}

    def unmanage_snapshot(self, snapshot: Snapshot) -> None:
        """Forget the snapshot, without touching it."""
        self._storage.delete(snapshot_key(snapshot["id"]))

    # --- steps ------------------------------------------------------------------------------

    def _serve(
        self,
        context: object,
        share: Share,
        volume: Volume,
        share_server: ShareServer | None,
        *,
        may_format: bool = False,
    ) -> AppliedShare:
        """Plug the volume in and let the agent make the rest true."""
        rules = share.get("access_rules")
        verdict = None if rules is None else self._judge(share, rules)
        self._attach(volume, share_server)
        wanted = self._wanted(share, volume.id, verdict, may_format=may_format)
        return self._apply(context, wanted, share_server)

    def _attach(self, volume: Volume, share_server: ShareServer | None) -> None:
        instance_id = server_details(share_server)[INSTANCE_ID]
        if volume.instance_id != instance_id:
            self._cloud.compute.attach_volume(instance_id, volume.id)

    def _apply(
        self, context: object, wanted: WantedShare, share_server: ShareServer | None
    ) -> AppliedShare:
        guest = self.service_instance_manager.guest(server_details(share_server))
        return guest.apply_share(wanted, fence=fence_of(context))

    def _wanted(
        self,
        share: Share,
        volume_id: str,
        verdict: Verdict | None,
        *,
        may_format: bool = False,
    ) -> WantedShare:
        share_id = share["id"]
        return WantedShare(
            share_id=share_id,
            serial=volume_id,
            file_system=cast(FileSystem, self._volumes.file_system(share_id)),
            may_format=may_format,
            path=self._path(share_id),
            protocol=HELPERS[share["share_proto"].upper()].protocol,
            fsid=file_system_id(share_id),
            rules=None if verdict is None else verdict.exports,
            squash=self._squash(share),
        )

    def _judge(self, share: Share, rules: Iterable[AccessRule]) -> Verdict:
        return judge(HELPERS[share["share_proto"].upper()], rules)

    def _squash(self, share: Share) -> Squash:
        return cast(Squash, option(share, "squash") or "root_squash")

    def _path(self, share_id: str) -> str:
        return f"{self.configuration.share_mount_path}/{share_id}"

    def _export_locations(
        self, share: Share, share_server: ShareServer | None
    ) -> list[ExportLocation]:
        details = server_details(share_server)
        hosts = [host for host in details.get("public_addresses", "").split(",") if host]
        helper = HELPERS[share["share_proto"].upper()]
        return helper.export_locations(hosts, self._path(share["id"]))

    def _guest_unless_off(self, share_server: ShareServer | None) -> Guest | None:
        """The agent, or None where there is no running instance to talk to."""
        details = (share_server or {}).get("backend_details") or {}
        if not details.get(INSTANCE_ID):
            return None
        try:
            return self.service_instance_manager.guest(details)
        except GuestError as error:
            if self.service_instance_manager.instance_is_off(details):
                return None
            raise ServiceInstanceUnavailable(
                "The service instance runs but does not answer."
            ) from error
