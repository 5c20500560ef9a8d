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
    """Share type of shares that name none; empty means that they must."""
    storage_availability_zone: str = "nova"
    """Availability zone of this back end, and of shares that name none."""
    share_mount_path: str = "/shares"
    """Directory in service instances that new shares are mounted below; clients see it."""
    share_volume_fstype: Literal["ext4", "xfs"] = "ext4"
    """File system of shares that choose none."""
    service_instance_user: str = "atoll"
    """User that Atoll logs in to service instances as."""
    service_instance_name_template: str = "atoll-%s"
    """Name and host name of a service instance; ``%s`` is the share server's id."""
    max_time_to_build_instance: Seconds = 300
    """Seconds until a service instance that does not answer is removed and made anew."""
    max_shares_per_share_server: Annotated[int, Meta(gt=0)] = 60
    """When a service instance has so many shares, the next share gets another instance."""
    freeze_seconds: Seconds = 30
    """A frozen file system thaws by itself after this many seconds."""
    unused_share_server_cleanup_interval: Seconds = 600
    """A share server without shares is removed after this many seconds."""
    warm_service_instances: Annotated[int, Meta(ge=0)] = 0
    """How many instances wait, booted, for the next share network."""
    replace_dead_after: Seconds = 60
    """An instance that has not answered for this many seconds is rebooted, then replaced."""
    driver_handles_share_servers: bool = True
    """False: no share servers; all shares are on one instance that the administrator has made."""
    service_instance_name_or_id: str = ""
    """That instance."""
    service_net_name_or_ip: str = ""
    """Its address for Atoll, or the network, by name or id, that it has that address in."""
    tenant_net_name_or_ip: str = ""
    """The same for clients: where they mount from."""
    path_to_private_key: Path | None = None
    """File with the private SSH key that opens that instance to ``service_instance_user``."""
    service_instance_host_key: str = ""
    """The public SSH host key of that instance, or the path of a file with it."""
    connect_share_server_to_tenant_network: bool = True
    """True: an interface in the user's own subnet; false: through the gateway of that subnet."""
    service_network_cidr: str = "10.254.0.0/16"
    """Range that subnets of the service network are cut from; those that exist keep theirs."""
    service_network_division_mask: Annotated[int, Meta(ge=8, le=125)] = 28
    """Prefix length of a subnet of the service network."""
    admin_network_id: str = ""
    """A network of the administrator's in which Atoll reaches instances; empty: service network."""
    admin_subnet_id: str = ""
    """Which subnet of that network; empty: any."""
