"""Serving shares: a volume is attached to an instance, and the agent is told how to serve it."""

from __future__ import annotations

import structlog

from atoll.cloud.base import Cloud, Volume
from atoll.driver.ensure import server_details
from atoll.driver.fence import INSTANCE_ID
from atoll.driver.resources import ServerDetails, fence_of
from atoll.driver.service_instance import ServiceInstanceManager
from atoll.driver.timing import timed
from atoll.driver.volumes import ShareVolumes
from atoll.driver.wanted import WantedShares
from atoll.errors import (
    CloudError,
    GuestError,
    GuestUnreachable,
    LoginKeyUnusable,
    ServiceInstanceUnavailable,
    StaleFence,
)
from atoll.guest.base import AppliedShare, Guest, WantedShare
from atoll.model.records import Share, ShareServer

log = structlog.get_logger(__name__)


class ShareServing:
    """The steps that the driver's verbs are made of."""

    def __init__(
        self,
        cloud: Cloud,
        manager: ServiceInstanceManager,
        volumes: ShareVolumes,
        wanted: WantedShares,
    ) -> None:
        self._compute = cloud.compute
        self._manager = manager
        self._volumes = volumes
        self._wanted = wanted

    def serve(
        self,
        context: object,
        share: Share,
        volume: Volume,
        details: ServerDetails,
        *,
        may_format: bool = False,
    ) -> AppliedShare:
        """Attach the volume and let the agent do the rest.

        The agent is called while the cloud is still attaching the volume, and waits for the disk
        itself.
        """
        self._wanted.keep_path(share["id"])
        rules = share.get("access_rules")
        verdict = None if rules is None else self._wanted.verdict(share, rules)
        instance_id = details[INSTANCE_ID]
        is_on_its_way = self._begin(volume, instance_id)
        wish = self._wanted.wish(
            share,
            volume.id,
            self._volumes.file_system(share["id"]),
            verdict,
            may_format=may_format,
            least_gib=volume.size_gib,
        )
        if not is_on_its_way:
            return self.apply(context, wish, details)
        try:
            applied = self.apply(context, wish, details)
        except StaleFence:
            raise
        except GuestError:
            # This raises the cloud's own error if the volume could not be attached.
            self._compute.attach_volume(instance_id, volume.id)
            return self.apply(context, wish, details)
        self._compute.attach_volume(instance_id, volume.id)  # wait until it is complete
        return applied

    def attach(self, volume: Volume, details: ServerDetails) -> None:
        """Attach the volume to the server's instance if it isn't yet."""
        instance_id = details[INSTANCE_ID]
        if self._begin(volume, instance_id):
            self._compute.attach_volume(instance_id, volume.id)

    def plug_in_early(self, volume: Volume, instance_id: str) -> None:
        """Begin to attach the volume to an instance that boots.

        After a failure, ``serve`` does it.
        """
        try:
            self._begin(volume, instance_id)
        except CloudError as error:
            log.info("volume_not_attached_yet", volume=volume.id, error=str(error))

    def _begin(self, volume: Volume, instance_id: str) -> bool:
        """Begin to attach the volume. Returns whether that is in progress; False if it is done."""
        if volume.instance_id == instance_id:
            return False
        with timed("volume_attaching", volume=volume.id, instance=instance_id) as facts:
            facts["on_its_way"] = self._compute.begin_attaching(instance_id, volume.id)
        return bool(facts["on_its_way"])

    def apply(self, context: object, wish: WantedShare, details: ServerDetails) -> AppliedShare:
        """Tell the agent how to serve the share, over an open channel or a new one."""
        with timed("share_applied", instance=details[INSTANCE_ID]) as facts:
            applied = self._manager.ask(
                details, lambda guest: guest.apply_share(wish, fence=fence_of(context))
            )
            facts["steps"] = applied.steps
        return applied

    def guest_unless_off(
        self, share_id: str, share_server: ShareServer | None, *, or_failed: bool = True
    ) -> Guest | None:
        """The agent, after it has answered; None if there is no running instance.

        An instance in error that does not answer counts as one that does not run if ``or_failed``.
        Raises ``ServiceInstanceUnavailable`` for an instance that runs but doesn't answer.
        """
        if share_server is None:
            volume = self._volumes.find(share_id)
            if volume is None or volume.instance_id is None:
                return None  # it isn't served, whether the common server works or not
        elif not (share_server.get("backend_details") or {}).get(INSTANCE_ID):
            return None
        details = server_details(self._manager, share_server)
        try:
            self._manager.health(details)
            return self._manager.guest(details)
        except (GuestUnreachable, LoginKeyUnusable, ServiceInstanceUnavailable):
            if self._manager.instance_is_off(details, or_failed=or_failed):
                return None
            raise
