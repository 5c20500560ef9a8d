"""Settings of the cloud ``openstack``."""

from __future__ import annotations

from pathlib import Path

from atoll.config import OpenStack


class OpenStackSettings(OpenStack, frozen=True, kw_only=True):
    """The section ``[openstack]``, and options of other sections that concern this cloud."""

    state_dir: Path
    """For the control sockets of channels to instances."""
    service_network_cidr: str = "10.254.0.0/16"
    """Range that the service network's own subnet is cut from."""
    admin_network_id: str = ""
    """An administrator's network that instances are reached in, instead of the service network."""
    threads: int = 32
    """How many threads may send requests to the cloud at once."""
