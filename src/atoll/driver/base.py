"""``ShareDriver``: what a share service may ask of any driver, and the answers that all share.

Names, signatures and meanings are the contract's. What callers pass is described in
``resources.py``. ``context`` may be any object. It has the operation's fence if there is one.
A driver that can't do something raises ``NotSupported``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from atoll.driver.resources import (
    ExportLocation,
    NetworkInfo,
    RuleUpdate,
    ServerDetails,
    SnapshotUpdate,
)
from atoll.errors import NotSupported
from atoll.model.records import AccessRule, Share, ShareServer, Snapshot


class ShareDriver:
    """A back end for shares."""

    driver_handles_share_servers = True

    # --- setting up -------------------------------------------------------------------------

    def do_setup(self, context: object) -> None:
        """Prepare when the service starts."""

    def check_for_setup_error(self) -> None:
        """Raise when prerequisites aren't met."""

    def get_share_stats(self, refresh: bool = False) -> dict[str, Any]:
        """The current capacity and capabilities. They are never cached."""
        return self._update_share_stats()

    def _update_share_stats(self, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        raise NotImplementedError

    # --- share servers ----------------------------------------------------------------------

    def get_network_allocations_number(self) -> int:
        """How many ports the caller must allocate: none, because the driver makes them itself."""
        return 0

    def setup_server(
        self, network_info: NetworkInfo | Sequence[NetworkInfo], metadata: Any = None
    ) -> dict[str, str]:
        """Make a share server. Returns its details, which the caller stores."""
        return self._setup_server(network_info, metadata)

    def _setup_server(
        self, network_info: NetworkInfo | Sequence[NetworkInfo], metadata: Any = None
    ) -> dict[str, str]:
        raise NotImplementedError

    def teardown_server(self, server_details: ServerDetails, security_services: Any = None) -> None:
        """Remove a share server. It may be gone already."""
        self._teardown_server(server_details, security_services)

    def _teardown_server(
        self, server_details: ServerDetails, security_services: Any = None
    ) -> None:
        raise NotImplementedError

    # --- shares -----------------------------------------------------------------------------

    def create_share(
        self, context: object, share: Share, share_server: ShareServer | None = None
    ) -> list[ExportLocation]:
        """Make a share. Returns its export locations."""
        raise NotImplementedError

    def create_share_from_snapshot(
        self,
        context: object,
        share: Share,
        snapshot: Snapshot,
        share_server: ShareServer | None = None,
        parent_share: Share | None = None,
    ) -> dict[str, Any]:
        """Make a share from a snapshot. Returns ``status`` and ``export_locations``."""
        raise NotImplementedError

    def delete_share(
        self, context: object, share: Share, share_server: ShareServer | None = None
    ) -> None:
        """Remove a share and its data. It may be gone already."""
        raise NotImplementedError

    def ensure_share(
        self, context: object, share: Share, share_server: ShareServer | None = None
    ) -> list[ExportLocation] | None:
        """Make sure that a share is exported. Returns its current export locations."""
        raise NotImplementedError

    def ensure_shares(self, context: object, shares: Iterable[Share]) -> dict[str, dict[str, Any]]:
        """``ensure_share`` for many shares. One that fails is reported, and the others go on."""
        raise NotImplementedError

    def extend_share(
        self,
        context: object,
        share: Share,
        new_size: int,
        share_server: ShareServer | None = None,
    ) -> None:
        """Grow a share to ``new_size`` GiB."""
        raise NotImplementedError

    def shrink_share(
        self,
        context: object,
        share: Share,
        new_size: int,
        share_server: ShareServer | None = None,
    ) -> None:
        """Shrink a share to ``new_size`` GiB, or raise ``ShareShrinkingPossibleDataLoss``."""
        _refuse("shrink a share", "Make a smaller share and copy the data.")

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
        """Let in exactly the clients of ``access_rules``.

        Returns the rules that could not be applied.
        """
        raise NotImplementedError

    # --- snapshots --------------------------------------------------------------------------

    def create_snapshot(
        self, context: object, snapshot: Snapshot, share_server: ShareServer | None = None
    ) -> SnapshotUpdate:
        """Copy a share as it is now. Returns what the caller stores with the snapshot."""
        raise NotImplementedError

    def delete_snapshot(
        self, context: object, snapshot: Snapshot, share_server: ShareServer | None = None
    ) -> None:
        """Remove a snapshot. It may be gone already."""
        raise NotImplementedError

    # --- adoption ---------------------------------------------------------------------------

    def manage_existing(self, share: Share, driver_options: Mapping[str, Any]) -> dict[str, Any]:
        """Take over a share that exists. Returns its size."""
        _refuse("manage an existing share")

    def manage_existing_snapshot(
        self,
        snapshot: Snapshot,
        driver_options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Take over a snapshot that exists. Returns its size."""
        _refuse("manage an existing snapshot")

    def unmanage_snapshot(self, snapshot: Snapshot) -> None:
        """Stop managing a snapshot without changing it."""
        _refuse("unmanage a snapshot")


def _refuse(what: str, hint: str = "") -> NoReturn:
    raise NotSupported(public=f"This back end can't {what}. {hint}".strip())
