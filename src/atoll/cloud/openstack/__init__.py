"""OpenStack behind the ports: Nova, Cinder, Neutron and Glance, by openstacksdk."""

from atoll.cloud.openstack.cloud import OpenStackCloud
from atoll.cloud.openstack.settings import OpenStackSettings

__all__ = ["OpenStackCloud", "OpenStackSettings"]
