"""The ports: what Atoll needs from a cloud, and nothing more.

These rules hold for every cloud, and the contract tests check them:

* **Owners.** Everything that is made has an ``owner``, the key of the resource that it is made for
  (``share/<id>``, ``share_server/<id>``, …), and the deployment's tag. A ``create_*`` call first
  looks for what an earlier call with the same owner made, and returns that, so a lost answer or a
  killed worker never leaves two.
* **Settled.** A call returns when what it asked for is true (volume available, attached, gone …) or
  raises; the one exception is ``create_instance``, which returns while the instance still boots.
* **Absent things** are no error for any delete, detach or disconnect.
* **Lists** hold only this deployment's things: they are the leak audit.
* Sizes are in GiB, times in seconds, ids are the cloud's own strings. Calls may be made from many
  threads at once.
* Errors are ``CloudUnavailable`` (try again), ``CloudNotFound``, ``OutOfCapacity``,
  ``VolumeInUse``, ``InstanceMayStillRun`` or plain ``CloudError``.
"""

from __future__ import annotations

from typing import Protocol

from atoll.cloud.things import Fencing as Fencing
from atoll.cloud.things import Finding as Finding
from atoll.cloud.things import Identity as Identity
from atoll.cloud.things import Image as Image
from atoll.cloud.things import Instance as Instance
from atoll.cloud.things import InstanceSpec as InstanceSpec
from atoll.cloud.things import Network as Network
from atoll.cloud.things import OwnedSubnet as OwnedSubnet
from atoll.cloud.things import Pool as Pool
from atoll.cloud.things import Port as Port
from atoll.cloud.things import Subnet as Subnet
from atoll.cloud.things import Volume as Volume
from atoll.cloud.things import VolumeSnapshot as VolumeSnapshot
from atoll.guest.base import Access as Access
from atoll.guest.base import Guest
from atoll.model.states import FencingState as FencingState
from atoll.model.states import InstanceStatus as InstanceStatus


class Compute(Protocol):
    """Instances, and what is plugged into them."""

    def create_instance(self, spec: InstanceSpec) -> Instance:
        """Start an instance, or find the one of ``spec.owner``.

        It returns while the instance boots.
        """

    def wait_for_instance(self, instance_id: str, deadline: float) -> Instance:
        """Return when it is active. Raises ``CloudError`` with the fault if it fails."""

    def get_instance(self, instance_id: str) -> Instance | None:
        """The instance, or None when it is gone."""

    def find_instance(self, name_or_id: str) -> Instance | None:
        """An instance by name or id, also one of another owner; None if it does not exist.

        Raises ``CloudError`` if several have that name.
        """

    def list_instances(self) -> list[Instance]:
        """All instances of this deployment."""

    def stopped(self) -> set[str]:
        """Ids of instances that don't run, or have ended since the last call.

        It is called every few seconds, so it is cheap, and may miss some.
        """

    def reboot_instance(self, instance_id: str, *, soft: bool = False) -> None:
        """Reset it, or ask it to reboot if ``soft``. A stopped instance is started."""

    def delete_instance(self, instance_id: str) -> None:
        """Delete it. Its volumes are detached and its ports kept, for use by another instance."""

    def fencing(self, instance_id: str) -> Fencing:
        """What is known about the end of an instance, which may be gone. It changes nothing."""

    def fence_instance(self, instance_id: str) -> None:
        """Delete the instance, and return only if it is proved that it no longer runs.

        It may be gone already; then the same proof is needed. Raises ``InstanceMayStillRun``. If
        the cloud can tell beforehand that there would be no proof, nothing is deleted then.
        """

    def attach_volume(self, instance_id: str, volume_id: str) -> None:
        """Attach a volume. Raises ``VolumeInUse`` if another instance has it."""

    def begin_attaching(self, instance_id: str, volume_id: str) -> bool:
        """Begin to attach a volume, without waiting if that takes long.

        Returns True if it is still in progress. ``attach_volume`` then waits for the end, and
        raises if it failed.
        """

    def detach_volume(self, instance_id: str, volume_id: str) -> None:
        """Detach a volume. It returns when the instance has released it."""

    def attach_port(self, instance_id: str, port_id: str) -> None:
        """Plug a port into a running instance (warm instances)."""

    def connect_ports(self, instance_id: str, deadline: float) -> None:
        """Have packets pass the ports of an active instance, and wait for that (in seconds).

        Raises ``CloudUnavailable`` when they don't in time.
        """

    def console(self, instance_id: str) -> str:
        """The last lines of its serial console, for messages about a failed boot."""


class Volumes(Protocol):
    """Block storage."""

    def create_volume(
        self,
        owner: str,
        size_gib: int,
        *,
        snapshot_id: str | None = None,
        availability_zone: str = "",
    ) -> Volume:
        """Make a blank volume, or one with a snapshot's content, at least as large."""

    def get_volume(self, volume_id: str) -> Volume | None:
        """The volume, or None when it is gone."""

    def find_volume(self, owner: str) -> Volume | None:
        """What ``create_volume`` made for this owner, for when its id was not recorded."""

    def list_volumes(self) -> list[Volume]:
        """All volumes of this deployment."""

    def extend_volume(self, volume_id: str, size_gib: int) -> None:
        """Grow it, also while it is attached. A volume that is already that large is left alone."""

    def delete_volume(self, volume_id: str) -> None:
        """Delete it. Its clones stay usable. Raises ``VolumeInUse`` while it is attached.

        Its snapshots stay usable, too. A cloud whose snapshots need it (Cinder) raises
        ``VolumeInUse``.
        """

    def create_snapshot(self, owner: str, volume_id: str) -> VolumeSnapshot:
        """Copy the volume as it is now, attached or not."""

    def get_snapshot(self, snapshot_id: str) -> VolumeSnapshot | None:
        """The snapshot, or None when it is gone."""

    def find_snapshot(self, owner: str) -> VolumeSnapshot | None:
        """What ``create_snapshot`` made for this owner."""

    def list_snapshots(self) -> list[VolumeSnapshot]:
        """All volume snapshots of this deployment."""

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete it. Volumes made from it stay usable.

        A cloud whose volumes still need it (some of Cinder's back ends copy nothing) raises
        ``VolumeInUse``.
        """

    def pools(self) -> list[Pool]:
        """The current capacity."""


class Networks(Protocol):
    """Networks and ports."""

    def service_network(self) -> Network:
        """The management network between Atoll and its instances. It is made if it is missing."""

    def create_network(self, owner: str, cidr: str = "") -> Network:
        """Make an isolated network with DHCP; an empty ``cidr`` means the next free one."""

    def get_network(self, network_id: str, subnet_id: str = "") -> Network | None:
        """A network by id, of any owner; None if it or the subnet in it does not exist."""

    def may_use(self, network_id: str, project_id: str) -> bool:
        """Whether users of that project may have shares in this network.

        An empty id stands for the project that Atoll itself is in. It is False for networks that
        Atoll made, for those in which it reaches instances, and for a network that does not exist.
        """

    def list_networks(self) -> list[Network]:
        """All networks of this deployment, the service network included."""

    def delete_network(self, network_id: str) -> None:
        """Remove a network of this deployment. Any other is left alone."""

    def create_subnet(self, owner: str, network_id: str, cidr: str, *, gateway: bool) -> Subnet:
        """Add a range with DHCP to a network. An owner has one such subnet in each network.

        Only with ``gateway`` it has a gateway's address, which instances learn by DHCP and a router
        can have. Raises ``CloudError`` if the range overlaps with another of that network.
        """

    def delete_subnet(self, subnet_id: str) -> None:
        """Remove a subnet that ``create_subnet`` made. Any other is left alone."""

    def list_subnets(self) -> list[OwnedSubnet]:
        """All that ``create_subnet`` made for this deployment."""

    def gateway_router(self, subnet_id: str) -> str:
        """Id of the router that is the gateway of a user's subnet.

        Raises ``CloudError`` if the subnet has no gateway, or if no router has its address.
        """

    def connect_router(self, subnet_id: str, to_subnet_id: str) -> str:
        """Plug Atoll's subnet into the other's ``gateway_router``, and return that router's id."""

    def disconnect_router(self, router_id: str, subnet_id: str) -> None:
        """Unplug Atoll's subnet from the router. What Atoll didn't plug in is left alone.

        With an empty ``router_id`` it removes what an interrupted ``connect_router`` has left.
        """

    def create_port(self, owner: str, network_id: str, subnet_id: str = "") -> Port:
        """Reserve a MAC and an address.

        An owner has one port in each network (or subnet, if given).
        """

    def get_port(self, port_id: str) -> Port | None:
        """The port, or None when it is gone."""

    def ports_of_instance(self, instance_id: str) -> list[Port]:
        """All ports of an instance. Those that Atoll didn't make have an empty owner."""

    def list_ports(self) -> list[Port]:
        """All ports of this deployment."""

    def delete_port(self, port_id: str) -> None:
        """Remove a port, so that its address is free."""


class Images(Protocol):
    """Service images."""

    def service_image(self) -> Image:
        """The image to boot. Raises ``CloudNotFound``, with what to do, if there is none."""


class Cloud(Protocol):
    """One cloud, bound to one deployment."""

    name: str

    @property
    def project_id(self) -> str:
        """The project that contains what Atoll makes. It is empty in a cloud without projects."""

    def place(self) -> dict[str, str]:
        """Facts, by name, that tell this cloud from any other one of its kind.

        They stay the same as long as it is the same cloud. An empty value is unknown. Raises
        ``CloudError`` if the cloud doesn't answer now.
        """

    @property
    def compute(self) -> Compute:
        """Instances."""

    @property
    def volumes(self) -> Volumes:
        """Block storage."""

    @property
    def networks(self) -> Networks:
        """Networks and ports."""

    @property
    def images(self) -> Images:
        """Service images."""

    def open_guest(self, instance_id: str, access: Access, deadline: float) -> Guest:
        """A channel to the instance's agent, waiting for its boot until ``deadline`` (seconds)."""

    def nfs_answers(self, instance_id: str, address: str) -> bool:
        """Whether the NFS server of an instance answers at its management address.

        False if there is no direct way to that address. It returns within two seconds.
        """

    def serves_clients(self, instance_id: str) -> bool:
        """Whether its NFS server answers at an address where clients reach it.

        False if there is no way from here into the network of its clients. It returns within some
        seconds.
        """

    def tend(self, *, wholly: bool = False) -> list[str]:
        """Restore the isolation of instances on this machine where other programs changed it.

        This is mainly the firewall's rules. It is called every few seconds, so it is cheap if
        nothing differs. ``wholly`` also checks what takes longer. Returns a sentence for each thing
        that was restored. Raises ``CloudError`` for one that can't be.
        """

    def check(self) -> list[Finding]:
        """What ``atoll doctor`` says about this cloud."""

    def purge(self) -> None:
        """Remove everything of this deployment, data included, and what was started to make it."""

    def close(self) -> None:
        """Close connections. Everything that was made keeps running."""
