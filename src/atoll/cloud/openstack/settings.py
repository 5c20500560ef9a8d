"""What the cloud ``openstack`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class OpenStackSettings:
    """Which OpenStack, and what of it to use. Names are Manila's where the meaning is the same."""

    state_dir: Path
    """For the control sockets of channels to instances."""
    cloud: str = ""
    """Entry of clouds.yaml; empty: what ``OS_CLOUD`` or the other ``OS_…`` variables say."""
    service_image_name: str = "atoll-service-image"
    """Tag of the service image's versions, as ``atoll image upload`` sets it; or an image's id."""
    service_instance_flavor_id: str = "100"
    cinder_volume_type: str = ""
    """Volume type of shares that choose none; empty: the cloud's default."""
    availability_zone: str = ""
    """Nova's and Cinder's, where a share network chooses none."""
    service_network_name: str = "atoll_service_network"
    service_network_cidr: str = "10.254.0.0/16"
    service_network_division_mask: int = 28
    admin_network_id: str = ""
    """An administrator's network that instances are reached in, instead of the service network."""
    service_network_host: str = ""
    """This machine's name among Neutron's agents; empty: its host name."""
    service_network_interface: Literal["linuxbridge", "openvswitch", "none"] = "none"
    """How this machine is plugged into that network; ``none``: it is routed, or by a bastion."""
    ovs_integration_bridge: str = "br-int"
    max_time_to_create_volume: float = 180
    """Seconds for a volume or a snapshot to be made, or deleted."""
    max_time_to_extend_volume: float = 180
    """Seconds for a volume to grow."""
    max_time_to_attach: float = 120
    """Seconds for a volume to be attached or detached."""
    ssh_proxy_jump: str = ""
    """``[user@]host[:port]`` of a bastion in front of the service network."""
    max_over_subscription_ratio: float = 20
