"""What the back end reports to the scheduler: actual capacity, and tested capabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from atoll import __version__
from atoll.cloud.base import Pool
from atoll.config import Driver as DriverOptions
from atoll.model.features import REPORTED


def share_stats(
    options: DriverOptions, pools: Iterable[Pool], max_over_subscription_ratio: float
) -> dict[str, Any]:
    """The whole report, in GiB. ``provisioned`` is the sum of all volumes' sizes."""
    protocols = options.enabled_share_protocols
    common: dict[str, Any] = {
        "driver_handles_share_servers": options.driver_handles_share_servers,
        "share_backend_name": options.share_backend_name,
        "vendor_name": "Atoll",
        "driver_version": __version__,
        "storage_protocol": "_".join(sorted(protocols, reverse=True)),
    }
    reported = [common | _pool(pool, max_over_subscription_ratio) for pool in pools]
    report: dict[str, Any] = {
        "total_capacity_gb": sum(pool["total_capacity_gb"] for pool in reported),
        "free_capacity_gb": sum(pool["free_capacity_gb"] for pool in reported),
        "pools": reported,
        "max_shares_per_share_server": options.max_shares_per_share_server,
        "max_share_server_size": -1,
        "share_group_stats": {"consistent_snapshot_support": None},
    }
    return common | dict(REPORTED) | report


def _pool(pool: Pool, max_over_subscription_ratio: float) -> dict[str, Any]:
    return dict(REPORTED) | {
        "pool_name": pool.name,
        "total_capacity_gb": pool.total_gib,
        "free_capacity_gb": pool.free_gib,
        "allocated_capacity_gb": pool.allocated_gib,
        "provisioned_capacity_gb": pool.allocated_gib,
        "reserved_percentage": 0,
        "reserved_snapshot_percentage": 0,
        "reserved_share_extend_percentage": 0,
        "max_over_subscription_ratio": max_over_subscription_ratio if pool.thin else 1.0,
        "thin_provisioning": pool.thin,
    }
