"""What ``atoll doctor`` looks at in an OpenStack."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from atoll.cloud.base import Finding
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.cloud.openstack.cloud import OpenStackCloud


def findings(cloud: OpenStackCloud) -> list[Finding]:
    """One line for each thing that must be right."""
    return [
        _finding("service image", lambda: cloud.images.service_image().name),
        _finding("flavor", lambda: cloud.compute.flavor()),
        _finding("block storage", lambda: _capacity(cloud)),
        _finding("networking", lambda: f"{len(cloud.networks.list_networks())} networks of ours"),
    ]


def _finding(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, look())
    except AtollError as error:
        return Finding(check, False, str(error), error.hint)


def _capacity(cloud: OpenStackCloud) -> str:
    pools = cloud.volumes.pools()
    return ", ".join(
        f"{pool.name}: {pool.free_gib:g} of {pool.total_gib:g} GiB free" for pool in pools
    )
