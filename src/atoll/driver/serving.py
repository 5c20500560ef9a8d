"""Serving shares: a volume plugged into an instance, and one wish told to the agent in there."""

from __future__ import annotations

import structlog

from atoll.cloud.base import Cloud, Volume
from atoll.driver.ensure import server_details
from atoll.driver.resources import ServerDetails, fence_of
from atoll.driver.service_instance import INSTANCE_ID, ServiceInstanceManager
from atoll.driver.timing import timed
from atoll.driver.volumes import ShareVolumes
from atoll.driver.wanted import WantedShares
from atoll.errors import (
    CloudError,
    GuestError,
    GuestUnreachable,
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
        """Plug the volume in and let the agent make the rest true.

        The agent is asked while the cloud is still plugging in: it waits for the disk itself.
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
            # The cloud's own words, if it could not plug it in; else it was only late.
            self._compute.attach_volume(instance_id, volume.id)
            return self.apply(context, wish, details)
        self._compute.attach_volume(instance_id, volume.id)  # to its end
        return applied

    def attach(self, volume: Volume, details: ServerDetails) -> None:
        """Plug the volume into the server's instance if it isn't yet."""
        instance_id = details[INSTANCE_ID]
        if self._begin(volume, instance_id):
            self._compute.attach_volume(instance_id, volume.id)

    def plug_in_early(self, volume: Volume, instance_id: str) -> None:
        """Have the volume plugged into an instance that boots; ``serve`` does what has failed."""
        try:
            self._begin(volume, instance_id)
        except CloudError as error:
            log.info("volume_not_attached_yet", volume=volume.id, error=str(error))

    def _begin(self, volume: Volume, instance_id: str) -> bool:
        """Whether the volume is on its way into the instance; False where it is in."""
        if volume.instance_id == instance_id:
            return False
        with timed("volume_attaching", volume=volume.id, instance=instance_id) as facts:
            facts["on_its_way"] = self._compute.begin_attaching(instance_id, volume.id)
        return bool(facts["on_its_way"])

    def apply(self, context: object, wish: WantedShare, details: ServerDetails) -> AppliedShare:
        """Tell the agent, over an open channel or a new one."""
        with timed("share_applied", instance=details[INSTANCE_ID]) as facts:
            applied = self._manager.ask(
                details, lambda guest: guest.apply_share(wish, fence=fence_of(context))
            )
            facts["steps"] = applied.steps
        return applied

    def guest_unless_off(self, share_id: str, share_server: ShareServer | None) -> Guest | None:
        """The agent, proved to answer; None where there is no running instance to talk to.

        Raises ``ServiceInstanceUnavailable`` for an instance that runs but doesn't answer.
        """
        if share_server is None:
            volume = self._volumes.find(share_id)
            if volume is None or volume.instance_id is None:
                return None  # nobody serves it, whatever has become of the common server
        elif not (share_server.get("backend_details") or {}).get(INSTANCE_ID):
            return None
        details = server_details(self._manager, share_server)
        try:
            self._manager.health(details)
            return self._manager.guest(details)
        except (GuestUnreachable, ServiceInstanceUnavailable):
            if self._manager.instance_is_off(details):
                return None
            raise
