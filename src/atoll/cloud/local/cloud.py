"""The cloud ``local`` as a whole: this machine, bound to one deployment."""

from __future__ import annotations

import shutil
from uuid import uuid4

from atoll.cloud.base import Access, Finding
from atoll.cloud.local import doctor
from atoll.cloud.local.acceleration import Acceleration, acceleration
from atoll.cloud.local.audit import Audit
from atoll.cloud.local.bridge import Bridges
from atoll.cloud.local.compute import Host, InstanceRecord, LocalCompute
from atoll.cloud.local.connection import Connection
from atoll.cloud.local.daemon import Daemon
from atoll.cloud.local.domains import Domains
from atoll.cloud.local.images import LocalImages
from atoll.cloud.local.isolation import Isolation
from atoll.cloud.local.layers import Layers
from atoll.cloud.local.networks import AddressPlan, LocalNetworks
from atoll.cloud.local.records import Records, locked, write_file
from atoll.cloud.local.settings import LocalSettings
from atoll.cloud.local.volumes import Capacity, LocalVolumes
from atoll.guest.base import Guest
from atoll.guest.channel import open_guest
from atoll.guest.nfs_probe import nfs_answers
from atoll.guest.private_file import sweep
from atoll.guest.ssh import SshOptions


class LocalCloud:
    """Implements ``Cloud``. It starts nothing before it is needed.

    ``state_dir/local`` holds the daemon that deployments share, and a directory for each of them.
    """

    name = "local"
    project_id = ""

    def __init__(self, deployment: str, settings: LocalSettings) -> None:
        self.deployment = deployment
        self.settings = settings
        self._acceleration: Acceleration | None = None
        shared = settings.state_dir.absolute() / "local"
        self.directory = shared / deployment
        for directory in (shared, self.directory):
            directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        daemon = Daemon(shared / "daemon", settings.libvirt_uri, self.acceleration)
        self.connection = Connection(daemon)
        user = self.connection.qemu_user
        instances = Records(self.directory / "instances", InstanceRecord)
        domains = Domains(self.connection, deployment, instances.directory)
        bridges = Bridges(self.connection, deployment)
        plan = AddressPlan(
            settings.service_network_cidr,
            settings.share_network_pool,
            settings.share_network_prefix,
        )
        capacity = Capacity(settings.reserved_gib, settings.max_over_subscription_ratio)
        layers = Layers(self.directory / "layers", user)
        self.volumes = LocalVolumes(self.directory, layers, domains, capacity)
        self.networks = LocalNetworks(self.directory, bridges, deployment, plan)
        self.images = LocalImages(self.directory / "images", settings.image, user)
        host = Host(settings.vcpus, settings.memory_mib, deployment, self.acceleration, user)
        self.compute = LocalCompute(
            instances, domains, self.volumes, self.networks, self.images, host
        )
        self._channels = self.directory / "channels"
        sweep(self._channels)
        self._isolation = Isolation(deployment, self.networks, bridges, domains)
        self._audit = Audit(self.directory, deployment, domains, bridges)

    def place(self) -> dict[str, str]:
        """The id of the state directory, which holds everything.

        It is made when first asked for.
        """
        file = self.directory / "place"
        with locked(self.directory):
            if not file.exists():
                write_file(file, uuid4().hex.encode())
            return {"place": file.read_text()}

    def acceleration(self) -> Acceleration:
        """What instances run with on this machine."""
        if self.settings.acceleration != "auto":
            return self.settings.acceleration
        if self._acceleration is None:
            self._acceleration = acceleration(self.directory.parent / "acceleration.json")
        return self._acceleration

    def open_guest(self, instance_id: str, access: Access, deadline: float) -> Guest:
        """A channel to the instance's agent, waiting for its boot until ``deadline`` (seconds)."""
        self.compute.records.expect(instance_id)
        return open_guest(access, SshOptions(self._channels), deadline)

    def nfs_answers(self, instance_id: str, address: str) -> bool:
        """Whether the NFS server of an instance answers at its management address."""
        return nfs_answers(address)

    def serves_clients(self, instance_id: str) -> bool:
        """Whether it answers in a share network, in each of which this machine has an address."""
        services = {each.id for each in self.networks.records.list() if each.is_service}
        ports = self.networks.ports_of_instance(instance_id)
        clients = [port for port in ports if port.network_id not in services]
        return any(nfs_answers(address) for port in clients for address in port.addresses)

    def tend(self, *, wholly: bool = False) -> list[str]:
        """Restore the isolation of instances where other programs changed it."""
        return self._isolation.tend(wholly=wholly)

    def check(self) -> list[Finding]:
        """What ``atoll doctor`` says about this cloud."""
        found = doctor.findings(self.connection, self.images, self.volumes, self.acceleration)
        return [*found, doctor.isolation(self._isolation)]

    def leftovers(self) -> list[str]:
        """One line for each thing of this deployment that is on this machine now."""
        return self._audit.lines()

    def purge(self) -> None:
        """Remove everything of this deployment, shares' data included, and Atoll's own daemon.

        It may be run again. Nothing else may be done with this object afterwards.
        """
        self.volumes.close()
        for instance in self.compute.list_instances():
            self.compute.delete_instance(instance.id)
        for port in self.networks.list_ports():
            self.networks.delete_port(port.id)
        for network in self.networks.list_networks():
            self.networks.delete_network(network.id)
        self._audit.sweep()
        shutil.rmtree(self.directory, ignore_errors=True)
        shared = self.directory.parent
        own = ("daemon", "acceleration.json")
        if not [path for path in shared.iterdir() if path.name not in own]:
            self.stop_daemon()  # no other deployment uses it
            shutil.rmtree(shared)

    def stop_daemon(self) -> None:
        """End Atoll's own libvirt daemon, if there is one, at the end of a demo or a test."""
        self.connection.close()
        self.connection.daemon.stop()

    def close(self) -> None:
        """Close connections. Everything that was made keeps running."""
        self.volumes.close()
        self.connection.close()
