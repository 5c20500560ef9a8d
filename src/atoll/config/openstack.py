"""The cloud ``openstack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from atoll.config.section import Cidr, Seconds, Section, SshHost


class OpenStack(Section, frozen=True):
    """The cloud ``openstack``: Nova, Cinder, Neutron and Glance."""

    cloud: str = ""
    """Entry of clouds.yaml; empty: ``OS_CLOUD`` or the other ``OS_…`` variables."""
    service_image_name: str = "atoll-service-image"
    """Tag of the service image that ``atoll image upload`` made, or an image's id."""
    service_instance_flavor_id: str = "100"
    """Flavor of service instances."""
    service_instance_boot_volume_gib: Annotated[int, Meta(ge=0)] = 0
    """Size in GiB of a service instance's boot volume, which is deleted with the instance; 0: it
    boots from a disk of its host."""
    service_instance_server_group: Literal[
        "none", "anti-affinity", "soft-anti-affinity", "affinity", "soft-affinity"
    ] = "none"
    """Policy of the service instances' server group: ``soft-anti-affinity`` puts them on different
    hosts if possible; with ``anti-affinity`` an instance without its own host is not created."""
    cinder_volume_type: str = ""
    """Volume type of shares; empty: the cloud's default."""
    availability_zone: str = ""
    """Availability zone of instances and volumes if nothing else determines it."""
    service_network_name: str = "atoll_service_network"
    """Name of the service network."""
    service_network_host: str = ""
    """This machine's name among Neutron's agents; empty: its host name."""
    service_network_interface: Literal["linuxbridge", "openvswitch", "none"] = "none"
    """How this machine is connected to that network; ``none``: it is routed (see
    ``ssh_source_cidrs``), or uses a bastion (``ssh_proxy_jump``)."""
    ovs_integration_bridge: str = "br-int"
    """Bridge that ``openvswitch`` uses."""
    max_time_to_create_volume: Seconds = 180
    """Seconds for the creation or deletion of a volume or snapshot."""
    max_time_to_extend_volume: Seconds = 180
    """Seconds for the extension of a volume."""
    max_time_to_attach: Seconds = 120
    """Seconds for attaching or detaching a volume."""
    max_over_subscription_ratio: Annotated[float, Meta(ge=1)] = 20
    """The volumes of a thin pool may have this multiple of its size."""
    ssh_source_cidrs: tuple[Cidr, ...] = ()
    """Source ranges of routed workers, from which instances accept SSH. Ranges of the service
    network, or of ``admin_network_id``, need not be named."""
    ssh_proxy_jump: SshHost = SshHost()
    """``[user@]host[:port]`` of a bastion in front of the service network."""
    ssh_proxy_private_key: Path | None = None
    """File with the private key for the bastion; empty: the default keys (``~/.ssh/id_…``) of the
    user that runs the worker."""
    ssh_proxy_host_key: str = ""
    """The bastion's public SSH host key, or the path of a file with it. If empty, the key must be
    in that user's ``~/.ssh/known_hosts``, or in ``/etc/ssh/ssh_known_hosts``."""
