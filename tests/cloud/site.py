"""A site under test: one cloud, and one running service instance with a share network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from uuid import uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from atoll.cloud.base import Access, Cloud, Identity, Instance, InstanceSpec, Network, Port, Volume
from atoll.errors import VolumeInUse
from atoll.guest.base import ExportRule, Guest, WantedShare

BOOT_SECONDS = 300
_numbers = count(1)


def owner(kind: str = "share") -> str:
    """A key that no other test uses."""
    return f"{kind}/{next(_numbers)}-{uuid4().hex[:8]}"


def key_pair() -> tuple[str, str]:
    """A private and a public OpenSSH key."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private.decode(), public.decode()


@dataclass(frozen=True)
class Site:
    """What a test of instances and guests works on."""

    cloud: Cloud
    network: Network
    service_port: Port
    share_port: Port
    identity: Identity
    private_key: str
    instance: Instance

    @property
    def spec(self) -> InstanceSpec:
        """What the instance was made from."""
        ports = (self.service_port.id, self.share_port.id)
        image = self.cloud.images.service_image()
        return InstanceSpec(self.instance.owner, self.instance.name, image.id, ports, self.identity)

    @property
    def access(self) -> Access:
        return Access(
            self.identity.user,
            self.service_port.addresses[0],
            self.private_key,
            self.identity.host_key_public,
        )

    def open_guest(self) -> Guest:
        return self.cloud.open_guest(self.instance.id, self.access, BOOT_SECONDS)

    def attached_volume(self, size_gib: int = 1, *, snapshot_id: str | None = None) -> Volume:
        volume = self.cloud.volumes.create_volume(owner(), size_gib, snapshot_id=snapshot_id)
        self.cloud.compute.attach_volume(self.instance.id, volume.id)
        return volume

    def replacement(self) -> Site:
        """A new instance on the same ports, once the old one is gone."""
        return replace(self, instance=self.cloud.compute.create_instance(self.spec))

    def location(self, wanted: WantedShare) -> str:
        return f"{self.share_port.addresses[0]}:{wanted.path}"


@contextmanager
def running_site(cloud: Cloud, *, serves: bool = True) -> Iterator[Site]:
    """One booted service instance; everything is taken away in the end.

    With ``serves`` its NFS server runs.
    """
    private, public = key_pair()
    who = Identity("atoll", public, *key_pair(), "contract")
    network = cloud.networks.create_network(owner("share_network"))
    server = owner("share_server")
    service_port = cloud.networks.create_port(server, cloud.networks.service_network().id)
    share_port = cloud.networks.create_port(server, network.id)
    image = cloud.images.service_image()
    spec = InstanceSpec(server, "contract", image.id, (service_port.id, share_port.id), who)
    instance = cloud.compute.create_instance(spec)
    try:
        cloud.compute.wait_for_instance(instance.id, BOOT_SECONDS)
        cloud.compute.connect_ports(instance.id, BOOT_SECONDS)
        site = Site(cloud, network, service_port, share_port, who, private, instance)
        if serves:
            site.open_guest().start_nfs(with_state=False)
        yield site
    finally:
        cloud.compute.delete_instance(instance.id)
        clear_volumes(cloud)
        for port in (service_port, share_port):
            cloud.networks.delete_port(port.id)
        cloud.networks.delete_network(network.id)


def clear_volumes(cloud: Cloud) -> None:
    """Delete all volumes and snapshots, some of which may need others."""
    for patience in (2, 1, 0):
        for volume in cloud.volumes.list_volumes():
            with suppress(VolumeInUse):
                cloud.volumes.delete_volume(volume.id)
        for snapshot in cloud.volumes.list_snapshots():
            with suppress(VolumeInUse):
                cloud.volumes.delete_snapshot(snapshot.id)
        left = [*cloud.volumes.list_volumes(), *cloud.volumes.list_snapshots()]
        assert patience or not left
        if not left:
            return


def rules(*clients: str) -> tuple[ExportRule, ...]:
    """Rules by address: ``10.0.0.1`` or ``10.0.0.0/24=ro``."""
    return tuple(
        ExportRule("ip", to, "ro" if level == "ro" else "rw")
        for to, _, level in (client.partition("=") for client in clients)
    )


def nfs(share_id: str, volume: Volume, *clients: str, **changes: object) -> WantedShare:
    """An NFS share on this volume for these clients."""
    wanted = {
        "share_id": share_id,
        "serial": volume.id,
        "file_system": "ext4",
        "may_format": True,
        "path": f"/shares/{share_id}",
        "protocol": "NFS",
        "fsid": str(uuid4()),
        "rules": rules(*clients),
    }
    return WantedShare(**(wanted | changes))  # type: ignore[arg-type]
