"""The generic driver and its service instances, on any cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from atoll.config.section import Seconds, Section


class Driver(Section, frozen=True):
    """The generic driver and its service instances."""

    share_backend_name: str = "generic"
    """The back end's name, which its pools report as a capability."""
    enabled_share_protocols: tuple[Literal["NFS", "CIFS"], ...] = ("NFS", "CIFS")
    """Protocols that shares may have."""
    default_share_type: str = "default"
    """Share type of shares that name none; if empty, each share must name one."""
    storage_availability_zone: str = "nova"
    """Availability zone of this back end, and of shares that name none."""
    share_mount_path: str = "/shares"
    """Directory in service instances below which new shares are mounted. Clients see it."""
    share_volume_fstype: Literal["ext4", "xfs"] = "ext4"
    """File system of shares whose share type names none."""
    service_instance_user: str = "atoll"
    """User that Atoll uses to log in to service instances."""
    service_instance_name_template: str = "atoll-%s"
    """Name and host name of a service instance; ``%s`` is the share server's id."""
    max_time_to_build_instance: Seconds = 300
    """Seconds after which a new service instance that does not answer is replaced."""
    max_shares_per_share_server: Annotated[int, Meta(gt=0)] = 60
    """Maximum number of shares on a service instance; further shares get another instance."""
    freeze_seconds: Seconds = 30
    """A frozen file system is thawed automatically after this many seconds."""
    unused_share_server_cleanup_interval: Seconds = 600
    """A share server without shares is removed after this many seconds."""
    warm_service_instances: Annotated[int, Meta(ge=0)] = 0
    """Number of instances that are kept booted for the next share networks, and to stand in."""
    replace_dead_after: Seconds = 8
    """An instance is rebooted after this many seconds without a sign of life."""
    replace_after_reset: Seconds = 60
    """An instance that was rebooted is replaced if it does not answer within this many seconds."""
    driver_handles_share_servers: bool = True
    """False: no share servers; all shares are on one instance made by the administrator."""
    service_instance_name_or_id: str = ""
    """Name or id of that instance."""
    service_net_name_or_ip: str = ""
    """Address of that instance for Atoll, or name or id of the network with that address."""
    tenant_net_name_or_ip: str = ""
    """Address of that instance for clients, or name or id of the network with that address."""
    path_to_private_key: Path | None = None
    """File with the private SSH key of ``service_instance_user`` on that instance."""
    service_instance_host_key: str = ""
    """Public SSH host key of that instance, or the path of a file with it."""
    connect_share_server_to_tenant_network: bool = True
    """True: instances have an interface in the user's subnet; false: they use its gateway."""
    service_network_cidr: str = "10.254.0.0/16"
    """Range of new subnets of the service network; existing subnets keep their ranges."""
    service_network_division_mask: Annotated[int, Meta(ge=8, le=125)] = 28
    """Prefix length of a subnet of the service network."""
    admin_network_id: str = ""
    """The administrator's network for access to instances; empty: the service network."""
    admin_subnet_id: str = ""
    """Subnet of that network; empty: any."""
