"""The cloud ``openstack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from atoll.config.section import Cidr, Seconds, Section, SshHost


class OpenStack(Section, frozen=True):
    """The cloud ``openstack``: Nova, Cinder, Neutron and Glance."""

    cloud: str = ""
    """Entry of clouds.yaml; empty takes what ``OS_CLOUD`` or the other ``OS_…`` variables say."""
    service_image_name: str = "atoll-service-image"
    """Tag that ``atoll image upload`` gives the service image, or an image's id."""
    service_instance_flavor_id: str = "100"
    """Flavor of service instances."""
    service_instance_boot_volume_gib: Annotated[int, Meta(ge=0)] = 0
    """GiB of the volume that a service instance boots from, which goes with it; 0: it boots from a
    disk of its host."""
    service_instance_server_group: Literal[
        "none", "anti-affinity", "soft-anti-affinity", "affinity", "soft-affinity"
    ] = "none"
    """Policy of the server group that service instances are in: ``soft-anti-affinity`` keeps them
    on different hosts as far as there are any, ``anti-affinity`` has one fail rather than share."""
    cinder_volume_type: str = ""
    """Volume type of shares; empty: the cloud's default."""
    availability_zone: str = ""
    """Where instances and volumes are made when nothing else says it."""
    service_network_name: str = "atoll_service_network"
    """Name of the service network."""
    service_network_host: str = ""
    """This machine's name among Neutron's agents; empty: its host name."""
    service_network_interface: Literal["linuxbridge", "openvswitch", "none"] = "none"
    """How this machine is plugged into that network; ``none``: it is routed (see
    ``ssh_source_cidrs``), or reaches it by a bastion (``ssh_proxy_jump``)."""
    ovs_integration_bridge: str = "br-int"
    """Bridge that ``openvswitch`` plugs into."""
    max_time_to_create_volume: Seconds = 180
    """Seconds for a volume or a snapshot to be made, or deleted."""
    max_time_to_extend_volume: Seconds = 180
    """Seconds for a volume to grow."""
    max_time_to_attach: Seconds = 120
    """Seconds for a volume to be attached or detached."""
    max_over_subscription_ratio: Annotated[float, Meta(ge=1)] = 20
    """A pool that provisions thinly may promise so many times its size."""
    ssh_source_cidrs: tuple[Cidr, ...] = ()
    """Ranges that workers come from when they are routed: SSH is let in from these, too. Those of
    the service network, or of ``admin_network_id``, need not be named."""
    ssh_proxy_jump: SshHost = SshHost()
    """``[user@]host[:port]`` of a bastion in front of the service network."""
    ssh_proxy_private_key: Path | None = None
    """File with the private key that opens the bastion; empty: the usual ones (``~/.ssh/id_…``) of
    the user that the worker runs as."""
    ssh_proxy_host_key: str = ""
    """The bastion's public SSH host key, or the path of a file with it; empty: it must be in that
    user's ``~/.ssh/known_hosts``, or in ``/etc/ssh/ssh_known_hosts``."""
