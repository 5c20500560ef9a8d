"""How a share should be served: what the agent and clients are told, and what is compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from atoll.config import Driver as DriverOptions
from atoll.driver.access import Verdict, judge
from atoll.driver.protocols import ShareHelper, helper_for
from atoll.driver.resources import ExportLocation, ServerDetails, file_system_id, option
from atoll.driver.storage import PrivateStorage
from atoll.driver.volumes import MOUNT_PATH
from atoll.guest.base import FileSystem, Health, Squash, WantedShare, digest
from atoll.model.keys import share_key
from atoll.model.records import AccessRule, Share


class WantedShares:
    """Decides from a share and its rules how it should be served."""

    def __init__(self, options: DriverOptions, storage: PrivateStorage) -> None:
        self._options = options
        self._storage = storage

    def check_protocol(self, share: Share) -> None:
        """Raise ``ShareBackendException`` for a protocol that this back end doesn't offer."""
        self._helper(share)

    def _helper(self, share: Share) -> ShareHelper:
        return helper_for(share["share_proto"], self._options.enabled_share_protocols)

    def path(self, share_id: str) -> str:
        """Where a share is mounted in its instance, and what NFS clients mount.

        It never changes once the share was served, because clients have it mounted by this path.
        ``share_mount_path`` is used for new shares only.
        """
        kept = self._storage.get(share_key(share_id), MOUNT_PATH)
        return kept or f"{self._options.share_mount_path}/{share_id}"

    def keep_path(self, share_id: str) -> None:
        """Store the path of a share that was made when only the configuration had it."""
        key = share_key(share_id)
        if self._storage.get(key, MOUNT_PATH) is None:
            self._storage.update(key, {MOUNT_PATH: self.path(share_id)})

    def verdict(self, share: Share, rules: Iterable[AccessRule]) -> Verdict:
        """Which rules can be applied, and how."""
        return judge(self._helper(share), rules)

    def wish(
        self,
        share: Share,
        volume_id: str,
        file_system: str,
        verdict: Verdict | None,
        *,
        may_format: bool = False,
        least_gib: int = 0,
    ) -> WantedShare:
        """What the agent is told. Without a verdict, exports stay as they are."""
        return WantedShare(
            share_id=share["id"],
            serial=volume_id,
            file_system=cast(FileSystem, file_system),
            may_format=may_format,
            path=self.path(share["id"]),
            protocol=self._helper(share).protocol,
            fsid=file_system_id(share["id"]),
            rules=None if verdict is None else verdict.exports,
            squash=_squash(share),
            private=not self._options.driver_handles_share_servers,
            least_gib=least_gib,
        )

    def export_locations(self, share: Share, details: ServerDetails) -> list[ExportLocation]:
        """What clients are told: one location for each address of the instance."""
        hosts = [host for host in details.get("public_addresses", "").split(",") if host]
        return self._helper(share).export_locations(hosts, self.path(share["id"]))

    def differences(self, share: Share, health: Health) -> str:
        """What is wrong with how the share is served, as a sentence, or an empty string."""
        served = next((one for one in health.shares if one.share_id == share["id"]), None)
        if served is None or not served.mounted:
            return "It is not mounted."
        if "access_rules" not in share:
            return ""
        exports = self.verdict(share, share["access_rules"]).exports
        if exports and not served.exported:
            return "It is not exported."
        if served.rules_digest != digest(exports, _squash(share)):
            return "Its exports don't match its access rules."
        return ""


def _squash(share: Share) -> Squash:
    return cast(Squash, option(share, "squash") or "root_squash")
