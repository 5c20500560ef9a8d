"""The cloud ``openstack`` as a whole: one project of it, bound to one deployment."""

from __future__ import annotations

import openstack
from keystoneauth1.session import TCPKeepAliveAdapter
from openstack.connection import Connection

from atoll.cloud.base import Access, Finding
from atoll.cloud.openstack import doctor
from atoll.cloud.openstack.api import ANSWER_SECONDS, Api
from atoll.cloud.openstack.channels import Channels
from atoll.cloud.openstack.compute import NovaCompute
from atoll.cloud.openstack.failures import translated
from atoll.cloud.openstack.images import GlanceImages
from atoll.cloud.openstack.networks import NeutronNetworks
from atoll.cloud.openstack.server_groups import ServerGroups
from atoll.cloud.openstack.settings import OpenStackSettings
from atoll.cloud.openstack.volumes import CinderVolumes
from atoll.guest.base import Guest
from atoll.guest.nfs_probe import nfs_answers

NOVA = "2.79"  # tags at creation (2.52), volumes' details in servers
CINDER = "3.44"  # growing a volume in use (3.42), attachments (3.27, 3.44)
SPARE_CONNECTIONS = 16
"""Connections for requests outside operations, such as those of the reconcile pass."""


class OpenStackCloud:
    """Implements ``Cloud``. It sends no request before the answer is needed."""

    name = "openstack"

    def __init__(self, deployment: str, settings: OpenStackSettings) -> None:
        self.deployment = deployment
        self.settings = settings
        self._connection = connect(settings)
        self.networks = NeutronNetworks(self._api("network"), deployment, settings)
        self.channels = Channels(self.networks, settings)
        self.volumes = CinderVolumes(self._api("block-storage", CINDER), deployment, settings)
        self.images = GlanceImages(self._api("image"), settings.service_image_name)
        nova = self._api("compute", NOVA)
        self.groups = ServerGroups(nova, deployment, settings.service_instance_server_group)
        self.compute = NovaCompute(
            nova,
            deployment,
            settings,
            self.volumes,
            self.groups,
            self.networks.ports,
        )

    def _api(self, service_type: str, microversion: str = "") -> Api:
        return Api(self._connection, service_type, microversion)

    @property
    def project_id(self) -> str:
        """The project that contains everything that Atoll makes."""
        with translated("OpenStack's credentials"):
            return str(self._connection.current_project_id)

    def place(self) -> dict[str, str]:
        """The project, whose id is unique among all clouds, and the region that Atoll works in.

        Keystone's address is not among them, because one cloud may have several.
        """
        region = self._connection.config.get_region_name()
        with translated("OpenStack's region"):
            if not region:
                endpoint = self._connection.network.get_endpoint_data()
                region = endpoint.region_name if endpoint is not None else ""
            project = self._connection.current_project_id
        return {"project": str(project or ""), "region": str(region or "")}

    def reach(self, address: str) -> None:
        """Give this machine a port in the address's subnet, if the configuration asks for one."""
        self.channels.host_port.reach(address)

    def open_guest(self, instance_id: str, access: Access, deadline: float) -> Guest:
        """A channel to the instance's agent, waiting for its boot until ``deadline`` (seconds)."""
        return self.channels.open(access, deadline)

    def nfs_answers(self, instance_id: str, address: str) -> bool:
        """Whether the NFS server of an instance answers at its management address."""
        return nfs_answers(address)

    def serves_clients(self, instance_id: str) -> bool:
        """Return False, because a worker has no way into the networks of users."""
        return False

    def tend(self, *, wholly: bool = False) -> list[str]:
        """Restore this host's rules for the service network. Neutron keeps all others."""
        if self.channels.host_port.guard():
            return ["The rules that close this host to the service network were missing."]
        return []

    def check(self) -> list[Finding]:
        """What ``atoll doctor`` says about this cloud."""
        return doctor.findings(self)

    def leftovers(self) -> list[str]:
        """One line for each thing of this deployment that is in the cloud now."""
        listed = (
            ("instance", self.compute.list_instances()),
            ("volume", self.volumes.list_volumes()),
            ("snapshot", self.volumes.list_snapshots()),
        )
        here = [f"{kind} {each.id} of {each.owner}" for kind, things in listed for each in things]
        here += [f"server group {group['id']}" for group in self.groups.ours()]
        return here + self.networks.leftovers()

    def purge(self) -> None:
        """Remove everything of this deployment, shares' data included. It may be run again."""
        for instance in self.compute.list_instances():
            self.compute.delete_instance(instance.id)
        self.groups.purge()
        for volume in self.volumes.list_volumes():
            if volume.instance_id is not None:
                self.compute.detach_volume(volume.instance_id, volume.id)
        self.volumes.purge()
        self.channels.host_port.remove()
        self.networks.purge()

    def close(self) -> None:
        """Close connections. Everything that was made keeps running."""
        self._connection.close()


def connect(settings: OpenStackSettings) -> Connection:
    """A connection by clouds.yaml or the environment. Raises ``ConfigurationError``.

    Each thread may have one request in progress. Requests to Keystone and version discovery have
    the same deadline as all others, unless clouds.yaml sets another (``api_timeout``).
    """
    with translated("OpenStack's credentials"):
        connection = openstack.connect(cloud=settings.cloud or None, app_name="atoll")
    session = connection.session
    if session.timeout is None:
        session.timeout = ANSWER_SECONDS
    adapter = TCPKeepAliveAdapter(pool_maxsize=settings.threads + SPARE_CONNECTIONS)
    for scheme in ("http://", "https://"):
        session.session.mount(scheme, adapter)
    return connection
